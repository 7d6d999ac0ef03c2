"""What masks have in common, against a table by hand."""

import pytest
import torch

from sparsekit.evaluation.overlap import overlap


def mask(*kept: int, size: int) -> torch.Tensor:
    return torch.isin(torch.arange(size), torch.tensor(kept))


def test_in_all_and_per_layer() -> None:
    first = {"a": mask(0, 1, 2, 3, size=8), "b": mask(0, size=4)}
    second = {"a": mask(2, 3, size=8), "b": mask(0, 1, size=4)}
    found = overlap(first, second)
    assert found["jaccard"] == pytest.approx(3 / 6)
    # Expected in common: 4 * 2 / 8 of a and 1 * 2 / 4 of b.
    assert found["by_chance"] == pytest.approx(1.5 / 7.5)
    assert (found["of_first"], found["of_second"]) == (3 / 5, 3 / 4)
    assert found["layers"] == [{"name": "a", "jaccard": 0.5}, {"name": "b", "jaccard": 0.5}]


def test_of_nothing_it_is_not_known() -> None:
    nothing = {"a": mask(size=4)}
    assert overlap(nothing, nothing)["jaccard"] is None
    assert overlap(nothing, {"a": mask(1, size=4)})["of_first"] is None
