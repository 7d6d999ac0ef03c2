"""Exact selection, compared with a full stable sort."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from sparsekit.core import selection


def by_sorting(scores: torch.Tensor, k: int) -> torch.Tensor:
    """The k largest by a stable sort: the plain definition."""
    mask = torch.zeros(scores.numel(), dtype=torch.bool)
    mask[scores.flatten().sort(descending=True, stable=True).indices[:k]] = True
    return mask.view(scores.shape)


@given(st.lists(st.integers(0, 5), min_size=1, max_size=40), st.data())
def test_top_settles_ties_like_a_stable_sort(values: list[int], data) -> None:
    scores = torch.tensor(values, dtype=torch.float32)
    k = data.draw(st.integers(0, len(values)))
    assert torch.equal(selection.top(scores, k), by_sorting(scores, k))


@given(st.integers(1, 6), st.integers(1, 9), st.randoms(use_true_random=False), st.data())
def test_top_per_row_is_top_of_each_row(height: int, width: int, random, data) -> None:
    values = [float(random.randint(0, 3)) for _ in range(height * width)]
    rows = torch.tensor(values).view(height, width)
    k = data.draw(st.integers(0, width))
    mask = selection.top_per_row(rows, k)
    assert torch.equal(mask, torch.stack([by_sorting(row, k) for row in rows]))


@pytest.mark.parametrize("k", [1, 999, 50_000, 300_000, 599_999, 600_000])
def test_kth_largest_of_more_than_the_sample(k: int) -> None:
    generator = torch.Generator().manual_seed(1)
    pieces = [torch.randn(num, generator=generator) for num in (1, 400_000, 0, 199_999)]
    expected = torch.cat(pieces).sort(descending=True).values[k - 1]
    assert selection.kth_largest(pieces, k) == expected.item()


@pytest.mark.parametrize("k", [1, 300_001, 300_002])
def test_kth_largest_where_almost_all_tie(k: int) -> None:
    piece = torch.zeros(300_002)
    piece[7], piece[9] = 1.0, -1.0
    assert selection.kth_largest([piece], k) == {1: 1.0, 300_001: 0.0, 300_002: -1.0}[k]


@pytest.mark.parametrize("k", [1, 5000, 299_990])
def test_kth_largest_survives_a_bracket_that_misses(k: int, monkeypatch) -> None:
    piece = torch.arange(300_000, dtype=torch.float32)
    for bracket in [(-9.0, -8.0), (4e5, 5e5), (1e5, 1e5 + 1)]:
        monkeypatch.setattr(selection, "_bracket", lambda pieces, k, bracket=bracket: bracket)
        assert selection.kth_largest([piece], k) == 300_000 - k


@pytest.mark.parametrize("k", [1, 50_000, 299_998])
def test_top_of_more_than_the_sample(k: int, monkeypatch) -> None:
    generator = torch.Generator().manual_seed(1)
    scores = torch.randn(300_000, generator=generator).mul(50).round()  # ties everywhere
    scores[:2] = -torch.inf
    expected = by_sorting(scores, k).nonzero().flatten()
    assert torch.equal(selection.top_indices(scores, k), expected)
    for low in (-1e9, 1e9, torch.inf):  # excludes nothing, too much, everything
        monkeypatch.setattr(selection, "_bracket", lambda pieces, k, low=low: (low, torch.inf))
        assert torch.equal(selection.top_indices(scores, k), expected)


def test_kth_largest_ignores_pruned_entries() -> None:
    pieces = [torch.full((280_000,), -torch.inf), torch.arange(3.0), torch.tensor([torch.inf])]
    assert [selection.kth_largest(pieces, k) for k in (1, 2, 4)] == [torch.inf, 2.0, 0.0]


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64, torch.int32])
def test_top_takes_every_dtype(dtype: torch.dtype) -> None:
    scores = torch.tensor([3, 1, 2, 3], dtype=dtype)
    assert selection.top(scores, 2).tolist() == [True, False, False, True]
