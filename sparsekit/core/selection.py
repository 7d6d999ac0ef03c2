"""Exact selection of the k largest, without sorting and with ties settled by index.

A threshold alone keeps too many or too few where values tie, so every function here counts. All
expect that at least k values exceed -inf.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from sparsekit.core import chunks

_SAMPLES = 1 << 14


def kth_largest(pieces: Sequence[Tensor], k: int) -> float:
    """Return the k-th largest value over all `pieces` (1-D, one floating dtype), k >= 1.

    A random sample brackets the value; only what falls inside the bracket is gathered and ranked,
    about 3 % of a large network, so `pieces` are never concatenated. A bracket that misses is
    widened: the result does not depend on the sample.

    >>> kth_largest([torch.tensor([3.0, 1.0]), torch.tensor([2.0])], 2)
    2.0
    """
    low, high = _bracket(pieces, k)
    inside, num_above = _inside(pieces, low, high)
    if not num_above < k <= num_above + len(inside):
        inside, num_above = _inside(pieces, torch.finfo(pieces[0].dtype).min, math.inf)
    return chunks.kth_smallest(inside, len(inside) - (k - num_above) + 1)


def _inside(pieces: Sequence[Tensor], low: float, high: float) -> tuple[Tensor, int]:
    """Gather what lies between the two, and count what lies above."""
    found = [chunks.between(piece, low, high) for piece in pieces]
    return torch.cat([inside for inside, _ in found]), sum(num for _, num in found)


def _bracket(pieces: Sequence[Tensor], k: int) -> tuple[float, float]:
    """Return two values between which the k-th largest lies, almost surely."""
    total = sum(piece.numel() for piece in pieces)
    lowest = torch.finfo(pieces[0].dtype).min
    if total <= 4 * _SAMPLES:
        return lowest, math.inf
    sample = torch.cat([_sample(piece, _SAMPLES / total) for piece in pieces])
    ranked = chunks.ascending(sample).flip(0)
    portion, num = k / total, ranked.numel()
    margin = 6 * math.sqrt(portion * (1 - portion) * num) + 6
    first, last = math.floor(portion * num - margin), math.ceil(portion * num + margin)
    high = float(ranked[first]) if first >= 0 else math.inf
    return max(float(ranked[last]), lowest) if last < num else lowest, high


def _sample(piece: Tensor, portion: float) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    num = math.ceil(piece.numel() * portion)
    positions = torch.randint(max(piece.numel(), 1), (num,), generator=generator)
    return piece[positions.to(piece.device)]


def top(scores: Tensor, k: int) -> Tensor:
    """Return a mask of the k largest entries; ties go to the lowest flat index.

    >>> top(torch.tensor([[1.0, 2.0], [2.0, 2.0]]), 2).int().tolist()
    [[0, 1], [1, 0]]
    """
    flat = comparable(scores).flatten()
    if k == 0:
        return torch.zeros_like(scores, dtype=torch.bool)
    threshold = kth_largest([flat], k)
    mask, num = chunks.at_least(flat, threshold)
    if num > k:
        mask[(flat == threshold).nonzero().flatten()[k - num :]] = False
    return mask.view(scores.shape)


def top_indices(flat: Tensor, k: int) -> Tensor:
    """Return the indices of the k largest entries (1-D), ascending; ties go to the lowest index.

    >>> top_indices(torch.tensor([2.0, 1.0, 2.0, 3.0]), 2).tolist()
    [0, 3]
    """
    return chunks.positions(top(flat, k))


def top_per_row(rows: Tensor, k: int) -> Tensor:
    """Return a mask of the k largest entries of each row (2-D); ties go to the lowest column.

    >>> top_per_row(torch.tensor([[1.0, 1.0, 0.0], [5.0, 6.0, 7.0]]), 1).int().tolist()
    [[1, 0, 0], [0, 0, 1]]
    """
    if k == 0 or rows.numel() == 0:
        return torch.zeros_like(rows, dtype=torch.bool)
    rows = comparable(rows)
    threshold = rows.kthvalue(rows.shape[1] - k + 1, dim=1, keepdim=True).values
    mask = rows > threshold
    ties = rows == threshold
    missing = k - mask.sum(dim=1, keepdim=True)
    return mask | (ties & (ties.cumsum(dim=1) <= missing))


def rows(tensor: Tensor) -> Tensor:
    """Return an "out *rest" tensor as a matrix "out rest"; a vector has one entry per row.

    >>> rows(torch.ones(3)).shape, rows(torch.ones(4, 2, 3, 3)).shape, rows(torch.tensor(1.0)).shape
    (torch.Size([3, 1]), torch.Size([4, 18]), torch.Size([1, 1]))
    """
    return tensor.flatten(1) if tensor.dim() > 1 else tensor.reshape(-1, 1)


def count(mask: Tensor) -> int:
    """Return the number of True entries as a Python integer."""
    return chunks.count(mask)


def alive(scores: Tensor) -> int:
    """Return the number of entries above -inf: those that may still be kept."""
    return chunks.num_above(scores, -math.inf)


def comparable(scores: Tensor) -> Tensor:
    """Return `scores` in a dtype in which all operations here exist and no order is lost."""
    return scores if scores.dtype in (torch.float32, torch.float64) else scores.double()
