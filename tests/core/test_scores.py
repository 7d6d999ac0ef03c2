"""Scores: literal tables and the recorded scores of the LAMP authors.

The recorded scores of SNIP, GraSP and SynFlow need a network: tests/training/test_probe.py.
"""

from functools import partial

import pytest
import torch

from sparsekit.core import allocate, patterns, prune, schedules, scores
from sparsekit.core.types import Masks, Sample, Weights


def all_kept(weights: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {name: torch.ones_like(weight, dtype=torch.bool) for name, weight in weights.items()}


def test_magnitude_is_the_absolute_value_and_needs_no_gradient() -> None:
    weights = {"a": torch.tensor([[-2.0, 0.5]], requires_grad=True)}
    result = scores.magnitude(weights, {}, None)["a"]
    assert result.tolist() == [[2.0, 0.5]]
    assert not result.requires_grad


def test_random_depends_on_seed_and_name_only() -> None:
    weights = {"a": torch.zeros(50), "b": torch.zeros(50)}
    first = scores.random(weights, {}, None, seed=0)
    alone = scores.random({"b": torch.ones(50)}, {}, None, seed=0)
    other = scores.random(weights, {}, None, seed=1)
    assert torch.equal(first["b"], alone["b"])
    assert not torch.equal(first["a"], first["b"])
    assert not torch.equal(first["a"], other["a"])
    assert 0.3 < first["a"].mean() < 0.7


def test_random_leaves_the_global_generator_alone() -> None:
    torch.manual_seed(0)
    before = torch.get_rng_state()
    scores.random({"a": torch.zeros(5)}, {}, None, seed=3)
    assert torch.equal(before, torch.get_rng_state())


@pytest.mark.parametrize(
    ("weight", "mask", "expected"),
    [
        ([1.0, -2.0], [1, 1], [0.2, 1.0]),
        ([1.0, -2.0, 3.0], [1, 1, 0], [0.2, 1.0, 0.0]),  # the pruned do not count
        ([2.0, 2.0], [1, 1], [1.0, 0.5]),  # ties: the lower index is the larger
        ([0.0, 0.0, 0.0], [0, 1, 1], [0.0, 1.0, 0.0]),  # all zero: still one to keep
        ([1.0, 0.0], [1, 1], [1.0, 0.0]),
    ],
)
def test_lamp(weight, mask, expected) -> None:
    result = scores.lamp({"a": torch.tensor(weight)}, {"a": torch.tensor(mask).bool()}, None)["a"]
    assert result.dtype == torch.float64
    assert result.tolist() == expected


def test_lamp_equals_the_recorded_scores(vectors) -> None:
    data = vectors("lamp")
    weights = {name: torch.tensor(values) for name, values in data["weights"].items()}
    result = scores.lamp(weights, all_kept(weights), None)
    for name, expected in data["scores"].items():
        torch.testing.assert_close(
            result[name], torch.tensor(expected, dtype=torch.float64), rtol=1e-4, atol=1e-7
        )


def test_lamp_gives_the_largest_of_a_million_exactly_one() -> None:
    weight = torch.randn(1_000_000, generator=torch.Generator().manual_seed(0))
    result = scores.lamp({"a": weight}, all_kept({"a": weight}), None)["a"]
    assert result[weight.abs().argmax()] == 1.0
    assert result.sort().values[-2] < 1.0
    descending = weight.abs().sort(descending=True, stable=True).indices
    assert (result[descending].diff() < 0).all()


class Bowl:
    """The loss (a^2 + 3 a b) / 2 of two layers of one weight each, divided by the temperature."""

    def __init__(self) -> None:
        self.asked: list[tuple[Sample | None, float]] = []

    def gradients(
        self, weights: Weights, sample: Sample | None = None, *, temperature: float = 1.0
    ) -> Weights:
        self.asked.append((sample, temperature))
        a, b = weights["a"], weights["b"]
        return {"a": (a + 1.5 * b) / temperature, "b": 1.5 * a / temperature}

    def hessian_product(
        self, weights: Weights, direction: Weights, sample: Sample, *, temperature: float = 1.0
    ) -> Weights:
        self.asked.append((sample, temperature))
        a, b = direction["a"], direction["b"]
        return {"a": (a + 1.5 * b) / temperature, "b": 1.5 * a / temperature}

    def flow(self, weights: Weights) -> Weights:
        return {name: torch.full_like(weight, 2.0).double() for name, weight in weights.items()}


AT = {"a": torch.tensor([2.0]), "b": torch.tensor([-4.0])}


def test_snip_is_gradient_times_weight() -> None:
    probe = Bowl()
    result = scores.snip(AT, {}, probe, seed=7, images_per_class=6, num_batches=3, train_mode=True)
    assert {name: score.tolist() for name, score in result.items()} == {"a": [8.0], "b": [12.0]}
    assert probe.asked == [(Sample(7, 6, 3, True), 1.0)]


@pytest.mark.parametrize(
    ("a", "b", "temperature", "expected"),
    [
        (2.0, -4.0, 2.0, {"a": [0.25], "b": [6.0]}),  # g (-2, 1.5), H g (0.125, -1.5)
        (2.0, 4.0, 2.0, {"a": [6.25], "b": [12.0]}),  # g (4, 1.5), H g (3.125, 3)
        (2.0, -1.0, 1.0, {"a": [10.0], "b": [-0.75]}),  # g (0.5, 3), H g (5, 0.75)
    ],
)
def test_grasp_is_weight_times_hessian_times_gradient(a, b, temperature, expected) -> None:
    probe, weights = Bowl(), {"a": torch.tensor([a]), "b": torch.tensor([b])}
    result = scores.grasp(weights, {}, probe, seed=7, temperature=temperature)
    assert {name: score.tolist() for name, score in result.items()} == expected
    assert probe.asked == [(Sample(7, 10, 1, False), temperature)] * 2


def test_grasp_keeps_the_largest_not_the_largest_sizes() -> None:
    weights = {"a": torch.tensor([2.0]), "b": torch.tensor([-1.0])}
    once = partial(
        prune.prune,
        score=partial(scores.grasp, seed=0),
        allocate=allocate.globally,
        pattern=patterns.unstructured,
    )
    kept = once(weights, all_kept(weights), Bowl(), 1)
    assert [mask.item() for mask in kept.values()] == [True, False]


def test_synflow_is_flow_times_size_in_float64() -> None:
    result = scores.synflow(AT, {}, Bowl())
    assert {name: score.tolist() for name, score in result.items()} == {"a": [4.0], "b": [8.0]}
    assert result["a"].dtype == torch.float64


@pytest.mark.parametrize("name", ["snip", "grasp", "synflow"])
def test_data_driven_scores_say_that_they_need_a_probe(name: str) -> None:
    score = getattr(scores, name)
    with pytest.raises(ValueError, match=f"{name} asks the task"):
        score(AT, {}, None, **({} if name == "synflow" else {"seed": 0}))


@pytest.mark.parametrize("name", ["snip", "grasp", "synflow"])
def test_scores_that_are_all_zero_select_nothing(name: str) -> None:
    zeros = {"a": torch.zeros(1), "b": torch.zeros(1)}
    with pytest.raises(ValueError, match=f"{name} scores every weight 0"):
        getattr(scores, name)(zeros, {}, Bowl(), **({} if name == "synflow" else {"seed": 0}))


def test_wrong_settings_of_data_driven_scores_are_named() -> None:
    with pytest.raises(ValueError, match="images_per_class=0"):
        scores.snip(AT, {}, Bowl(), seed=0, images_per_class=0)
    with pytest.raises(ValueError, match="num_batches=3 does not divide images_per_class=10"):
        scores.snip(AT, {}, Bowl(), seed=0, num_batches=3)
    with pytest.raises(ValueError, match="num_batches=0"):
        scores.grasp(AT, {}, Bowl(), seed=0, num_batches=0)
    with pytest.raises(ValueError, match="temperature must be positive, got 0"):
        scores.grasp(AT, {}, Bowl(), seed=0, temperature=0)


class Recorder:
    """A prune by magnitude that notes how many weights it was asked to keep and what it saw."""

    def __init__(self) -> None:
        self.wanted: list[int] = []
        self.zeros: list[int] = []

    def __call__(self, weights: Weights, masks: Masks, probe: object, num_kept: int) -> Masks:
        self.wanted.append(num_kept)
        self.zeros.append(sum(int((weight == 0).sum()) for weight in weights.values()))
        return by_magnitude(weights, masks, None, num_kept)


by_magnitude = partial(
    prune.prune,
    score=scores.magnitude,
    allocate=allocate.globally,
    pattern=patterns.unstructured,
)


@pytest.mark.parametrize(
    ("iterations", "schedule", "wanted"),
    [
        (1, schedules.geometric, [10]),
        (2, schedules.geometric, [100, 10]),
        (3, schedules.geometric, [215, 46, 10]),
        (3, schedules.linear, [670, 340, 10]),
        (4, schedules.constant, [1000, 1000, 1000, 10]),
    ],
)
def test_iterated_goes_down_a_ladder_and_masks_what_is_gone(iterations, schedule, wanted) -> None:
    weights = {"a": torch.randn(1000, generator=torch.Generator().manual_seed(0))}
    before = weights["a"].clone()
    once = Recorder()
    result = prune.iterated(
        weights,
        all_kept(weights),
        None,
        10,
        prune=once,
        iterations=iterations,
        schedule=schedule,
    )
    assert once.wanted == wanted
    assert once.zeros == [0, *(1000 - kept for kept in wanted[:-1])]
    assert torch.equal(result["a"], by_magnitude(weights, all_kept(weights), None, 10)["a"])
    assert torch.equal(weights["a"], before)


def test_iterated_starts_from_what_the_masks_keep() -> None:
    weights = {"a": torch.arange(1.0, 1001.0)}
    masks = {"a": torch.arange(1000) < 100}
    once = Recorder()
    result = prune.iterated(weights, masks, None, 1, prune=once, iterations=2)
    assert once.wanted == [10, 1]
    assert result["a"].nonzero().item() == 99


def test_iterated_goes_on_where_a_structure_rounds_down() -> None:
    weights = {"a": torch.randn(8, 9, generator=torch.Generator().manual_seed(0))}
    rows = partial(
        prune.prune,
        score=scores.magnitude,
        allocate=partial(allocate.in_whole_rows, allocate=allocate.uniform),
        pattern=patterns.constant_fan_in,
    )
    result = prune.iterated(weights, all_kept(weights), None, 20, prune=rows, iterations=10)
    assert result["a"].sum(dim=1).tolist() == [2] * 8


@pytest.mark.parametrize(
    ("num_kept", "iterations", "message"),
    [
        (0, 5, "cannot keep 0 weights; feasible are 1 to 3"),
        (4, 5, "cannot keep 4 weights; feasible are 1 to 3"),
        (2, 0, "iterations must be 1 or more, got 0"),
    ],
)
def test_iterated_refuses(num_kept, iterations, message) -> None:
    weights = {"a": torch.ones(3)}
    with pytest.raises(ValueError, match=message):
        prune.iterated(
            weights, all_kept(weights), None, num_kept, prune=by_magnitude, iterations=iterations
        )
