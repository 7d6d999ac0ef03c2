"""Masks that move, or do not, while training."""

from functools import partial

import torch

from sparsekit.core import allocate, movers, patterns, schedules, scores
from sparsekit.core.prune import check_nested, num_kept

WEIGHTS = {"a": torch.arange(1.0, 51.0).view(5, 10), "b": torch.arange(51.0, 101.0).view(5, 10)}
MASKS = {name: torch.ones_like(weight, dtype=torch.bool) for name, weight in WEIGHTS.items()}
TO_NINETY = partial(
    movers.gradual,
    schedule=partial(schedules.cubic, start=0.0, stop=0.9, steps=10),
    score=scores.magnitude,
    allocate=allocate.globally,
    pattern=patterns.unstructured,
    update=partial(schedules.every, interval=4, until=10),
)


def test_fixed_never_moves() -> None:
    assert movers.fixed(3, WEIGHTS, WEIGHTS, MASKS) is None


def test_gradual_follows_the_cubic_schedule_and_reaches_its_end() -> None:
    masks, history = MASKS, {}
    for step in range(13):
        moved = TO_NINETY(step, WEIGHTS, {}, masks)
        if moved is not None:
            check_nested(masks, moved)
            masks = moved
            history[step] = sum(num_kept(masks).values())
    # 1 - 0.9 * (1 - (1 - u)^3) of 100 weights, also at 10, which is off the grid of 4
    assert history == {0: 100, 4: 29, 8: 11, 10: 10}
    assert num_kept(masks) == {"a": 0, "b": 10}


def test_gradual_leaves_sparser_masks_as_they_are() -> None:
    masks = {name: weight % 10 == 0 for name, weight in WEIGHTS.items()}
    moved = TO_NINETY(0, WEIGHTS, {}, masks)
    assert moved is not None
    assert all(torch.equal(moved[name], masks[name]) for name in masks)


def test_gradual_with_constant_fan_in_never_runs_short() -> None:
    weights = {"a": torch.rand(7, 10, generator=torch.Generator().manual_seed(0))}
    masks = {"a": torch.ones(7, 10).bool()}
    for step in range(11):
        moved = movers.gradual(
            step,
            weights,
            {},
            masks,
            schedule=partial(schedules.linear, start=0.0, stop=0.85, steps=10),
            score=scores.magnitude,
            allocate=partial(allocate.in_whole_rows, allocate=allocate.uniform),
            pattern=patterns.constant_fan_in,
            update=lambda step: True,
        )
        assert moved is not None
        masks = moved
    assert masks["a"].sum(dim=1).tolist() == [1] * 7
