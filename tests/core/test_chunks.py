"""Long tensors compared chunk by chunk, against PyTorch comparing them whole."""

import math

import pytest
import torch
from torch import Tensor

from sparsekit.core import chunks

DTYPES = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
ODD = [math.nan, math.inf, -math.inf, 0.0, -0.0, 1.0, -1.0, 1.0, 0.5, -0.5, 2.0]


@pytest.fixture(params=DTYPES, ids=str)
def values(request, monkeypatch) -> Tensor:
    """Everything odd, three times, in chunks of four."""
    monkeypatch.setattr(chunks, "_SIZE", 4)
    return torch.tensor(3 * ODD, dtype=request.param)


@pytest.mark.parametrize("bound", [-math.inf, -0.5, -0.0, 0.0, 1.0, math.inf])
def test_counts_and_masks_are_those_of_whole_tensors(values: Tensor, bound: float) -> None:
    mask, num = chunks.at_least(values, bound)
    assert torch.equal(mask, values >= bound)
    assert num == int((values >= bound).sum())
    assert chunks.num_above(values.view(3, -1), bound) == int((values > bound).sum())
    assert chunks.num_equal(values, bound) == int((values == bound).sum())


@pytest.mark.parametrize(("low", "high"), [(-0.5, 1.0), (0.0, 0.0), (-math.inf, math.inf)])
def test_between_keeps_the_order_and_the_dtype(values: Tensor, low: float, high: float) -> None:
    inside, num_above = chunks.between(values, low, high)
    assert inside.dtype == values.dtype
    assert torch.equal(inside, values[(values >= low) & (values <= high)])
    assert num_above == int((values > high).sum())


def test_the_kth_of_a_row_is_nan_where_topk_has_one(values: Tensor) -> None:
    rows = values.float().view(3, -1)
    rows[1] = torch.arange(11.0)
    for k in (1, 4, 11):
        expected = rows.topk(k, dim=1).values.amin(dim=1, keepdim=True)
        assert torch.equal(chunks.kth_per_row(rows, k).nan_to_num(9), expected.nan_to_num(9))


def test_positions_of_a_matrix_that_is_not_contiguous() -> None:
    mask = torch.tensor([[True, False, False], [True, False, True]]).t()
    assert chunks.positions(mask).tolist() == [0, 1, 5]
    assert chunks.count(mask) == 3


def test_weights_that_require_gradients_are_compared_too() -> None:
    weight = torch.nn.Parameter(torch.tensor([1.0, 3.0, 2.0]))
    assert chunks.at_least(weight, 2.0)[0].tolist() == [False, True, True]
    assert chunks.num_above(weight, 2.0) == 1


@pytest.mark.parametrize("k", [0, 3, -1])
def test_a_rank_that_no_value_has_is_refused(k: int) -> None:
    with pytest.raises(ValueError, match=f"there is no rank {k} among 2 values"):
        chunks.kth_smallest(torch.tensor([1.0, 2.0]), k)
