"""Masks of one layer: literal tables, structure, and what is refused."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sparsekit.core import patterns

INF = math.inf


@pytest.mark.parametrize(
    ("pattern", "scores", "count", "expected"),
    [
        (patterns.unstructured, [[3.0, 1.0], [3.0, 2.0]], 3, [[1, 0], [1, 1]]),
        (patterns.unstructured, [[1.0, 1.0], [1.0, 1.0]], 3, [[1, 1], [1, 0]]),
        (patterns.unstructured, [[-INF, -9.0], [1.0, -INF]], 2, [[0, 1], [1, 0]]),
        (patterns.unstructured, [[1.0, 2.0]], 0, [[0, 0]]),
        (patterns.constant_fan_in, [[9.0, 8.0, 7.0], [1.0, 2.0, 3.0]], 2, [[1, 0, 0], [0, 0, 1]]),
        (patterns.constant_fan_in, [[1.0, 1.0, 1.0], [0.0, 2.0, 2.0]], 4, [[1, 1, 0], [0, 1, 1]]),
        (patterns.constant_fan_in, [[-INF, -INF], [1.0, 2.0]], 1, [[0, 0], [0, 1]]),
        (patterns.constant_fan_in, [[-INF, -INF], [-INF, -INF]], 0, [[0, 0], [0, 0]]),
        (patterns.balanced, [[9.0, 8.0, 7.0], [1.0, 3.0, 2.0]], 2, [[1, 0, 0], [0, 1, 0]]),
        (patterns.balanced, [[9.0, 8.0, 7.0], [1.0, 3.0, 2.0]], 5, [[1, 1, 1], [0, 1, 1]]),
        (patterns.balanced, [[9.0, 1.0], [3.0, 2.0], [4.0, 2.0]], 4, [[1, 0], [1, 1], [1, 0]]),
        (patterns.balanced, [[1.0, 1.0], [1.0, 1.0], [1.0, 1.0]], 5, [[1, 1], [1, 1], [1, 0]]),
        (patterns.balanced, [[-INF, 5.0], [1.0, 2.0], [3.0, 4.0]], 4, [[0, 1], [0, 1], [1, 1]]),
        (patterns.balanced, [[-INF, 5.0], [1.0, 2.0], [3.0, 4.0]], 5, [[0, 1], [1, 1], [1, 1]]),
        (patterns.balanced, [[-INF, -INF], [1.0, 2.0]], 1, [[0, 0], [0, 1]]),
        (patterns.balanced, [[INF, -9.0], [INF, -8.0]], 3, [[1, 0], [1, 1]]),
        (patterns.balanced, [[-INF, -INF], [-INF, -INF]], 0, [[0, 0], [0, 0]]),
        (patterns.balanced, [[1.0, 2.0], [3.0, 4.0]], 0, [[0, 0], [0, 0]]),
        (patterns.channels, [[1.0, 1.0], [0.0, 3.0], [2.0, 0.0]], 4, [[1, 1], [1, 1], [0, 0]]),
        (patterns.channels, [[9.0, -INF], [0.0, 1.0]], 2, [[0, 0], [1, 1]]),
        (patterns.channels, [[INF, -INF], [0.0, 1.0]], 2, [[0, 0], [1, 1]]),
        (patterns.channels, [[-3.0, 1.0], [0.0, 1.0]], 2, [[0, 0], [1, 1]]),  # signed scores
        # a vector has one weight per row
        (patterns.unstructured, [3.0, 1.0, 2.0], 2, [1, 0, 1]),
        (patterns.constant_fan_in, [3.0, -INF, 2.0], 2, [1, 0, 1]),
        (patterns.balanced, [3.0, -INF, 2.0], 2, [1, 0, 1]),
        (patterns.channels, [3.0, 1.0, 2.0], 1, [1, 0, 0]),
        (patterns.constant_fan_in, 3.0, 1, 1),
    ],
)
def test_masks(pattern, scores, count, expected) -> None:
    mask = pattern(torch.tensor(scores), count)
    assert mask.dtype == torch.bool
    assert mask.int().tolist() == expected


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda s: patterns.unstructured(s, 6), "cannot keep 6 .* largest feasible count is 5"),
        (lambda s: patterns.unstructured(s, -1), "cannot keep -1"),
        (lambda s: patterns.constant_fan_in(s, 3), "2 active rows, got 3; .* is 2"),
        (lambda s: patterns.constant_fan_in(s, 6), "cannot keep 6 .* largest feasible count is 4"),
        (lambda s: patterns.balanced(s, 1), "cannot keep 1 .* smallest feasible count is 2"),
        (lambda s: patterns.balanced(s, 6), "cannot keep 6 .* largest feasible count is 5"),
        (lambda s: patterns.balanced(s, -1), "cannot keep -1"),
        (lambda s: patterns.channels(s, 4), "cannot keep 4 .* largest feasible count is 3"),
        (lambda s: patterns.channels(s, 2), "row size 3, got 2; .* is 0"),
        (lambda s: patterns.n_of_m(s, 3, n=1, m=2), "3 inputs do not divide .* m=2"),
        (lambda s: patterns.n_of_m(s, 5, n=2, m=3), "exactly 4 of 6, got 5"),
        (lambda s: patterns.n_of_m(s, 6, n=3, m=3), "only 2 weights left"),
        (lambda s: patterns.n_of_m(s, 6, n=4, m=3), "n=4, m=3"),
        (lambda s: patterns.n_of_m(s[0], 2, n=2, m=3), r"inputs to group, .* shape is \(3,\)"),
    ],
)
def test_the_infeasible_is_refused_with_the_feasible(call, message) -> None:
    scores = torch.tensor([[1.0, 2.0, 3.0], [4.0, 5.0, -INF]])
    with pytest.raises(ValueError, match=message):
        call(scores)


def test_n_of_m_equals_the_reference(vectors) -> None:
    case = vectors("nm")["srste_2:4"]
    scores = torch.tensor(case["W"]).abs()
    mask = patterns.n_of_m(scores, scores.numel() // 2, n=2, m=4)
    expected = torch.tensor(case["mask"])
    # the groups of zeros: the reference records no choice among exact zeros
    assert torch.equal(mask.int() * (scores > 0), expected * (scores > 0))
    assert mask.view(2, 2, 4).sum(dim=-1).tolist() == [[2, 2], [2, 2]]
    assert mask[1, 4:].tolist() == [True, False, False, True]  # ties: the lowest index


def test_n_of_m_groups_input_channels_not_kernel_positions(vectors) -> None:
    case = vectors("nm")["conv"]
    weight = torch.tensor(case["W"]).view(case["W_shape"])
    mask = patterns.n_of_m(weight.abs(), 4, n=2, m=4)
    kept = (weight * mask).flatten()
    assert kept.tolist() == case["nhwc_forward"]
    assert kept.tolist() != case["nchw_forward"]


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10**6), st.data())
def test_every_pattern_is_exact_and_keeps_the_best(seed: int, data) -> None:
    generator = torch.Generator().manual_seed(seed)
    scores = torch.randint(0, 4, (3, 4, 1, 2), generator=generator).float()
    scores[0] = -INF if seed % 2 else scores[0]
    active = 2 if seed % 2 else 3
    fan_in = data.draw(st.integers(0, 8))
    mask = patterns.constant_fan_in(scores, active * fan_in)
    rows = mask.flatten(1).sum(dim=1)
    assert rows.tolist() == [0 if seed % 2 else fan_in, fan_in, fan_in]
    for row, kept in zip(scores.flatten(1), mask.flatten(1), strict=True):
        if 0 < kept.sum() < 8:
            assert row[kept].min() >= row[~kept].max()
    num = data.draw(st.integers(0, 8 * active))
    mask = patterns.unstructured(scores, num)
    assert mask.sum() == num
    assert not (mask & (scores == -INF)).any()
    num = data.draw(st.integers(0, active))
    mask = patterns.channels(scores, 8 * num)
    assert sorted(mask.flatten(1).sum(dim=1).tolist()) == [0] * (3 - num) + [8] * num


@settings(max_examples=150, deadline=None)
@given(st.integers(0, 10**6), st.data())
def test_balanced_fills_the_emptiest_row_first(seed: int, data) -> None:
    """Against the definition, weight by weight: each goes to the emptiest row that can take one,
    of equal ones to the row with the highest score to offer."""
    generator = torch.Generator().manual_seed(seed)
    scores = torch.randint(0, 3, (5, 2, 1, 3), generator=generator).float()
    scores[torch.rand(scores.shape, generator=generator) < seed % 4 / 4] = -INF
    queues = [sorted((-v, i) for i, v in enumerate(row) if v > -INF) for row in by_row(scores)]
    num_rows, left = sum(map(bool, queues)), sum(map(len, queues))
    count = data.draw(st.one_of(st.just(0), st.integers(num_rows, left)))
    kept = [0] * 5
    for _ in range(count):
        open_rows = [row for row in range(5) if kept[row] < len(queues[row])]
        kept[min(open_rows, key=lambda row: (kept[row], queues[row][kept[row]][0], row))] += 1
    chosen = [{i for _, i in queue[:num]} for queue, num in zip(queues, kept, strict=True)]
    mask = patterns.balanced(scores, count)
    assert mask.shape == scores.shape
    assert [{i for i, on in enumerate(row) if on} for row in by_row(mask)] == chosen
    assert count == 0 or sum(map(bool, chosen)) == num_rows


def by_row(tensor: torch.Tensor) -> list[list[float]]:
    return tensor.flatten(1).tolist()


def test_balanced_leaves_no_output_of_a_thin_random_layer_empty() -> None:
    scores = torch.rand(64, 64, 3, 3, generator=torch.Generator().manual_seed(0))
    count = 3 * 64 + 11
    rows = patterns.balanced(scores, count).flatten(1).sum(dim=1)
    assert sorted(rows.tolist()) == [3] * 53 + [4] * 11
    assert (patterns.unstructured(scores, count).flatten(1).sum(dim=1) == 0).any()


@given(st.integers(1, 4), st.integers(0, 10**6))
def test_n_of_m_keeps_n_in_every_group(n: int, seed: int) -> None:
    scores = torch.rand(2, 8, 3, 3, generator=torch.Generator().manual_seed(seed))
    mask = patterns.n_of_m(scores, 144 * n // 4, n=n, m=4)
    assert mask.shape == scores.shape
    for start in (0, 4):
        group, kept = scores[:, start : start + 4], mask[:, start : start + 4]
        assert (kept.sum(dim=1) == n).all()
        worst = group.masked_fill(~kept, INF).amin(dim=1)
        assert (worst >= group.masked_fill(kept, -INF).amax(dim=1)).all()


def test_scores_are_not_changed() -> None:
    scores = torch.tensor([[3.0, 1.0], [-INF, 2.0]])
    before = scores.clone()
    patterns.unstructured(scores, 2)
    patterns.constant_fan_in(scores, 2)
    patterns.balanced(scores, 3)
    patterns.channels(scores, 2)
    assert torch.equal(scores, before)
