"""Which weights of a layer are kept: (scores "out *rest", count) -> bool mask of that shape.

Rows are outputs, also of a transposed convolution: `layout` shows its weight "out *rest". A vector
is a column, one weight per output.

Every mask has exactly `count` True entries, none where the score is -inf; ties go to the lowest
index. ValueError, with the largest feasible count, where the structure does not allow `count`.
"""

import math

import torch
from torch import Tensor

from sparsekit.core import selection


def unstructured(scores: Tensor, count: int) -> Tensor:
    """Keep the `count` highest scores of the layer.

    >>> unstructured(torch.tensor([[3.0, 1.0], [3.0, 2.0]]), 2).int().tolist()
    [[1, 0], [1, 0]]
    """
    _require_at_most(count, selection.alive(scores))
    return selection.top(scores, count)


def constant_fan_in(scores: Tensor, count: int) -> Tensor:
    """Keep the same number of inputs for every active output (Lasby et al. 2024).

    A row whose scores are all -inf is an ablated output and stays empty; the other rows keep
    count / active rows each. A convolution's fan-in runs over input channels and kernel positions.

    >>> constant_fan_in(torch.tensor([[9.0, 8.0, 7.0], [1.0, 2.0, 3.0]]), 2).int().tolist()
    [[1, 0, 0], [0, 0, 1]]
    """
    rows = selection.rows(scores)
    alive = (rows > -math.inf).sum(dim=1)
    active = alive > 0
    num_active = selection.count(active)
    feasible = num_active * int(alive[active].min()) if num_active else 0
    _require_at_most(count, feasible)
    if num_active and count % num_active:
        raise ValueError(
            f"constant fan-in keeps a multiple of the {num_active} active rows, got {count}; "
            f"the largest feasible count up to it is {count - count % num_active}"
        )
    kept = selection.top_per_row(rows, count // num_active if num_active else 0)
    return (kept & active[:, None]).view(scores.shape)


def balanced(scores: Tensor, count: int) -> Tensor:
    """Keep nearly equal numbers for all outputs, so that none is left without an input.

    Unstructured random masks of very sparse layers leave outputs empty (Liu et al. 2022 draw each
    weight independently); here all rows are filled evenly with their highest scores, and what does
    not go round goes one each to the rows whose next best score is highest, ties to the first row.
    A row that is short of weights passes its part on. A row whose scores are all -inf stays empty.
    Any count up to what is left is feasible but those that cannot give every other row a weight:
    ValueError naming the smallest, the number of such rows. A count of 0 empties the layer, as with
    every pattern: an allocation of nothing asks for that.

    >>> scores = torch.tensor([[9.0, 8.0, 7.0], [1.0, 3.0, 2.0]])
    >>> balanced(scores, 3).int().tolist()
    [[1, 1, 0], [0, 1, 0]]
    """
    rows = selection.rows(scores)
    level, num_left = _water_level((rows > -math.inf).sum(dim=1), count)
    base = selection.top_per_row(rows, level) & (rows > -math.inf)
    if num_left == 0:
        return base.view(scores.shape)
    following = selection.top_per_row(rows, level + 1) & (rows > -math.inf) & ~base
    next_best = rows.masked_fill(~following, -math.inf).amax(dim=1)
    chosen = selection.top(next_best, num_left)
    return (base | (following & chosen[:, None])).view(scores.shape)


def _water_level(alive: Tensor, count: int) -> tuple[int, int]:
    """Return how many every row keeps, or all of its `alive`, and how many of `count` are left."""
    _require_at_most(count, int(alive.sum()))
    num_rows = selection.count(alive)
    if 0 < count < num_rows:
        raise ValueError(
            f"cannot keep {count} weights without emptying a row; {num_rows} rows have weights "
            f"left, so the smallest feasible count is {num_rows}"
        )
    # row_counts[k] rows have k weights left, so holders[k] rows can keep more than k
    row_counts = alive.bincount()
    holders = alive.numel() - row_counts.cumsum(dim=0)
    needed = holders.cumsum(dim=0)
    level = selection.count(needed[:-1] <= count)
    return level, count - (int(needed[level - 1]) if level else 0)


def n_of_m(scores: Tensor, count: int, *, n: int, m: int) -> Tensor:
    """Keep the n highest of every m consecutive inputs (Zhou et al. 2021).

    Groups run along dimension 1, the inputs that a matrix product sums over: for a convolution they
    are m consecutive input channels at one output and one kernel position. That is the layout
    sparse tensor cores expect (channels last); grouping consecutive numbers in memory would mix
    kernel positions and gives other masks. ValueError unless m divides the inputs, `count` is
    numel * n / m, and every group has n scores above -inf.

    >>> n_of_m(torch.tensor([[0.9, 0.1, 0.5, 0.6]]), 2, n=2, m=4).int().tolist()
    [[1, 0, 0, 1]]
    """
    if not 0 < n <= m:
        raise ValueError(f"n of m needs 0 < n <= m, got n={n}, m={m}")
    if scores.dim() < 2:
        raise ValueError(f"n of m needs inputs to group, but the shape is {tuple(scores.shape)}")
    if scores.shape[1] % m:
        raise ValueError(f"{scores.shape[1]} inputs do not divide into groups of m={m}")
    if count * m != scores.numel() * n:
        raise ValueError(
            f"{n} of {m} keeps exactly {scores.numel() * n // m} of {scores.numel()}, got {count}"
        )
    inputs_last = scores.movedim(1, -1)
    groups = inputs_last.reshape(-1, m)
    fewest = int((groups > -math.inf).sum(dim=1).min())
    if fewest < n:
        raise ValueError(f"cannot keep {n} of {m}: a group has only {fewest} weights left")
    return selection.top_per_row(groups, n).view(inputs_last.shape).movedim(-1, 1).contiguous()


def channels(scores: Tensor, count: int) -> Tensor:
    """Keep whole output rows: those with the highest sum of scores.

    For magnitude scores the sum is the L1 norm of the filter (Li et al. 2017). A row with any score
    of -inf cannot be kept whole and goes. ValueError unless `count` is a multiple of the row size.

    >>> channels(torch.tensor([[1.0, 1.0], [0.0, 3.0], [2.0, 0.0]]), 4).int().tolist()
    [[1, 1], [1, 1], [0, 0]]
    """
    rows = selection.rows(scores)
    size, whole = rows.shape[1], (rows > -math.inf).all(dim=1)
    _require_at_most(count, size * selection.count(whole))
    if count % size:
        raise ValueError(
            f"channels keeps a multiple of the row size {size}, got {count}; "
            f"the largest feasible count up to it is {count - count % size}"
        )
    sums = rows.sum(dim=1, dtype=torch.float64).masked_fill(~whole, -math.inf)
    kept = selection.top(sums, count // size)
    return kept[:, None].expand(rows.shape).reshape(scores.shape)


def _require_at_most(count: int, feasible: int) -> None:
    if not 0 <= count <= feasible:
        raise ValueError(f"cannot keep {count} weights; the largest feasible count is {feasible}")
