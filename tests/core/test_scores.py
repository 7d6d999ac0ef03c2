"""Scores: literal tables and the recorded scores of the LAMP authors."""

import pytest
import torch

from sparsekit.core import scores


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
