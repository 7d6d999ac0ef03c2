"""Overlaps of masks, against numbers worked out by hand."""

from __future__ import annotations

import pytest
import torch

from sparsekit.core.overlap import mask_overlap


def masks(**rows: list[int]) -> dict[str, torch.Tensor]:
    return {name: torch.tensor(row).bool() for name, row in rows.items()}


def test_the_total_is_over_weights_and_not_over_layers() -> None:
    first = masks(a=[1, 1, 1, 0], b=[1, 0], none=[0, 0])
    second = masks(a=[0, 1, 1, 1], b=[1, 0], none=[0, 0])
    found = mask_overlap(first, second)
    assert found["layers"] == {"a": 2 / 4, "b": 1.0, "none": 1.0}
    assert found["total"] == 3 / 5
    expected = 9 / 4 + 1 / 2
    assert found["by_chance"] == pytest.approx(expected / (8 - expected))
    assert mask_overlap(second, first) == found
    assert mask_overlap(first, first)["total"] == 1
    assert mask_overlap(masks(a=[1, 0]), masks(a=[0, 1]))["total"] == 0


def test_only_masks_of_the_same_layers_are_compared() -> None:
    with pytest.raises(ValueError, match=r"got the layers \['a'\], expected \['b'\]"):
        mask_overlap(masks(a=[1]), masks(b=[1]))
    with pytest.raises(ValueError, match=r"'a' has shape \(1,\), expected \(2,\)"):
        mask_overlap(masks(a=[1]), masks(a=[1, 0]))
