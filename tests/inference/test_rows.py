"""Kept weights row by row: literal arrays, and back."""

import pytest
import torch

from sparsekit.inference.rows import sparse_rows

WEIGHT = torch.tensor([[0.0, 1, 0, 2, 0], [0.0, 0, 0, 0, 0], [3.0, 0, 0, 0, 4], [0.0, 0, 5, 6, 0]])


def test_rows_of_a_matrix():
    rows = sparse_rows(WEIGHT, WEIGHT != 0)
    assert rows.values.tolist() == [1, 2, 3, 4, 5, 6]
    assert rows.columns.tolist() == [1, 3, 0, 4, 2, 3]
    assert rows.columns.dtype == torch.uint16
    assert rows.starts.tolist() == [0, 2, 2, 4, 6]
    assert rows.fan_in is None
    assert torch.equal(rows.dense(), WEIGHT)
    assert torch.equal(rows.mask(), WEIGHT != 0)


def test_a_kept_weight_may_be_zero():
    mask = torch.ones(2, 3, dtype=torch.bool)
    rows = sparse_rows(torch.zeros(2, 3), mask)
    assert (rows.kept, rows.fan_in) == (6, 3)
    assert torch.equal(rows.mask(), mask)


def test_wide_rows_have_wide_indices():
    weight = torch.zeros(1, 70_000)
    mask = torch.zeros(1, 70_000, dtype=torch.bool)
    mask[0, 69_999] = True
    rows = sparse_rows(weight, mask)
    assert (rows.columns.dtype, rows.columns.tolist()) == (torch.int32, [69_999])


def test_refusals():
    with pytest.raises(ValueError, match=r"boolean \(4, 5\), got torch.float32"):
        sparse_rows(WEIGHT, WEIGHT)
    with pytest.raises(ValueError, match=r"torch.bfloat16, got torch.float16"):
        sparse_rows(WEIGHT, WEIGHT != 0, dtype=torch.float16)
