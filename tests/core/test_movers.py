"""Masks that move, or do not, while training."""

import math
from functools import partial

import pytest
import torch

from sparsekit.core import allocate, movers, patterns, rules, schedules, scores
from sparsekit.core.prune import apply, check_nested, num_kept

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


def _layers() -> tuple[dict[str, torch.Tensor], ...]:
    generator = torch.Generator().manual_seed(0)
    shapes = {"conv.weight": (6, 3, 3, 3), "hidden.weight": (9, 20), "fc.weight": (4, 30)}
    weights = {name: torch.randn(shape, generator=generator) for name, shape in shapes.items()}
    grads = {name: torch.randn(shape, generator=generator) for name, shape in shapes.items()}
    masks = {
        name: patterns.constant_fan_in(torch.rand(shape, generator=generator), 5 * shape[0])
        for name, shape in shapes.items()
    }
    return {name: weights[name] * masks[name] for name in masks}, grads, masks


REWIRE = partial(movers.rewire, rule=rules.rigl_rule, interval=10, num_steps=100)


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, [10, 20, 30, 40, 50, 60, 70]),
        ({"until": 0.7}, [10, 20, 30, 40, 50, 60]),  # the end is exclusive: nothing moves there
        ({"until": 1.0, "interval": 40, "decay": "constant"}, [40, 80]),
        ({"until": 0.0}, []),
        ({"fraction": 0.0}, []),
    ],
)
def test_rewire_acts_every_interval_until_a_fraction_of_training(options, expected) -> None:
    acted = [
        step for step in range(120) if partial(REWIRE, **options)(step, *_layers()) is not None
    ]
    assert acted == expected


@pytest.mark.parametrize(
    ("decay", "expected"),
    [
        ("constant", 0.3),
        ("linear", 0.3 * (1 - 30 / 75)),
        ("cosine", 0.15 * (1 + math.cos(math.pi * 30 / 75))),
        ("harmonic", 0.3 * (1 - 10 * 0.4 / (1 + 9 * 0.4))),
    ],
)
def test_rewire_moves_the_fraction_of_the_schedule(decay, expected) -> None:
    asked = []

    def rule(weight, gradient, mask, fraction, seed):
        asked.append(fraction)
        return mask

    REWIRE(30, *_layers(), rule=rule, decay=decay)
    assert asked == pytest.approx([expected] * 3)


def test_rewire_keeps_the_counts_and_moves_every_layer() -> None:
    weights, grads, masks = _layers()
    moved = REWIRE(10, weights, grads, masks)
    assert moved is not None
    assert num_kept(moved) == num_kept(masks)
    assert list(moved) == list(masks)
    assert not any(torch.equal(moved[name], masks[name]) for name in masks)
    applied = apply(weights, moved)
    for name, mask in masks.items():
        assert (applied[name][moved[name] & ~mask] == 0).all(), "grown weights start at 0"


def test_random_growth_is_a_function_of_seed_step_and_layer() -> None:
    weights, grads, masks = _layers()
    twins = [{"a": t["fc.weight"], "b": t["fc.weight"]} for t in (weights, grads, masks)]
    rewire = partial(REWIRE, rule=rules.set_rule, decay="constant")
    first, again = rewire(10, *twins), rewire(10, *twins)
    assert first is not None
    assert again is not None
    assert all(torch.equal(first[name], again[name]) for name in first)
    alone = rewire(10, *({"b": t["b"]} for t in twins))
    assert alone is not None
    assert torch.equal(alone["b"], first["b"])
    others = [first["b"], *(m["a"] for m in (rewire(20, *twins), rewire(10, *twins, seed=1)) if m)]
    assert len(others) == 3
    assert not any(torch.equal(first["a"], other) for other in others)


def test_the_last_layer_and_exceptions_have_their_own_rules() -> None:
    def every(value):
        return lambda weight, gradient, mask, fraction, seed: torch.full_like(mask, value)

    moved = REWIRE(
        10,
        *_layers(),
        rule=every(True),
        last=every(False),
        exceptions={"hid*": every(False), "*.weight": every(True), "fc.weight": every(False)},
    )
    assert moved is not None
    assert [int(mask.float().mean()) for mask in moved.values()] == [1, 0, 1]
    moved = REWIRE(10, *_layers(), rule=every(True), last=every(False))
    assert moved is not None
    assert [int(mask.float().mean()) for mask in moved.values()] == [1, 1, 0]


def test_srigl_ablates_all_but_the_last_layer() -> None:
    weights, grads, masks = _layers()
    for name in masks:  # the first neuron of each layer is small and learns nothing
        weights[name][0] *= 1e-6
        grads[name][0] = 0.0
    moved = REWIRE(
        10,
        weights,
        grads,
        masks,
        rule=partial(rules.srigl_rule, gamma_sal=0.3),
        last=partial(rules.srigl_rule, gamma_sal=0),
    )
    assert moved is not None
    active = {name: mask.flatten(1).any(dim=1) for name, mask in moved.items()}
    assert [bool(rows[0]) for rows in active.values()] == [False, False, True]
    assert active["fc.weight"].all()
    for name, mask in moved.items():
        per_row = mask.flatten(1).sum(dim=1)[active[name]]
        assert (per_row == 5 * len(mask) // len(per_row)).all()


def test_masks_stay_where_a_gradient_overflowed() -> None:
    weights, grads, masks = _layers()
    grads["hidden.weight"][0, 0] = math.inf
    assert REWIRE(10, weights, grads, masks) is None


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_steps": None}, "num_steps=None: bind"),
        ({"interval": 0}, "got 0"),
        ({"until": 1.5}, "until .* got 1.5"),
        ({"fraction": -0.1}, "fraction .* got -0.1"),
        ({"decay": "cosin"}, "'cosin' is none of 'constant', 'cosine'"),
        ({"exceptions": {"qkv": rules.set_rule}}, r"\['qkv'\] match none of the layers \['conv"),
    ],
)
def test_mistakes_in_rewire_are_named(options, message) -> None:
    with pytest.raises(ValueError, match=message):
        partial(REWIRE, **options)(10, *_layers())


def test_a_layer_without_gradient_is_named() -> None:
    weights, grads, masks = _layers()
    del grads["fc.weight"]
    with pytest.raises(ValueError, match=r"no gradients for \['fc.weight'\]"):
        REWIRE(10, weights, grads, masks)
