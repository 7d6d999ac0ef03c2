"""Comparing long tensors with a number, in chunks that a CPU's cache holds.

A network's scores compared at once make temporaries of the same length, which cost more to write
and read back than the comparison. NumPy compares, counts and gathers chunks three times as fast as
PyTorch does the same chunks. Tensors of other devices are compared whole, by PyTorch; so are
dtypes that NumPy lacks or compares slowly. The results are the same, with NaN too: it is neither
above nor below anything, and last in order.
"""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor

_SIZE = 1 << 16  # 256 KiB of float32: with the results, in the second-level cache
_DTYPES = (torch.float32, torch.float64, torch.bool)


def count(mask: Tensor) -> int:
    """Return the number of entries that are not zero as a Python integer.

    >>> count(torch.tensor([True, False, True]))
    2
    """
    if mask.dtype == torch.bool and _is_chunked(mask):
        return int(np.count_nonzero(mask.numpy()))
    return int(torch.count_nonzero(mask))


def num_above(values: Tensor, bound: float) -> int:
    """Return how many `values` exceed `bound`, as the dtype of the values holds it.

    >>> num_above(torch.tensor([1.0, 2.0, 3.0]), 1.0)
    2
    """
    return _num(values, bound, np.greater, torch.gt)


def num_equal(values: Tensor, bound: float) -> int:
    """Return how many `values` equal `bound`.

    >>> num_equal(torch.tensor([1.0, 2.0, 1.0]), 1.0)
    2
    """
    return _num(values, bound, np.equal, torch.eq)


def at_least(values: Tensor, bound: float) -> tuple[Tensor, int]:
    """Return the mask of the `values` that reach `bound` (1-D), and how many they are.

    >>> at_least(torch.tensor([1.0, 2.0, 3.0]), 2.0)
    (tensor([False,  True,  True]), 2)
    """
    if not _is_chunked(values):
        mask = values >= bound
        return mask, count(mask)
    mask = torch.empty(values.shape, dtype=torch.bool)
    total = 0
    for chunk, reached in zip(_chunks(values), _chunks(mask), strict=True):
        np.greater_equal(chunk, bound, out=reached)
        total += int(np.count_nonzero(reached))
    return mask, total


def between(values: Tensor, low: float, high: float) -> tuple[Tensor, int]:
    """Return the `values` (1-D) from `low` to `high`, both included, and how many exceed `high`.

    >>> between(torch.tensor([3.0, 1.0, 2.0, 5.0, 0.0]), 1.0, 3.0)
    (tensor([3., 1., 2.]), 1)
    """
    if not _is_chunked(values):
        return values[(values >= low) & (values <= high)], count(values > high)
    inside, total = [np.empty(0, dtype=_numpy(values).dtype)], 0
    for chunk in _chunks(values):
        above = chunk > high
        total += int(np.count_nonzero(above))
        inside.append(chunk[(chunk >= low) ^ above])
    return torch.from_numpy(np.concatenate(inside)), total


def kth_smallest(values: Tensor, k: int) -> float:
    """Return the k-th smallest of `values` (1-D, none of them NaN), 1 <= k <= their number.

    >>> kth_smallest(torch.tensor([3.0, 1.0, 2.0]), 2)
    2.0
    """
    if not 1 <= k <= len(values):
        raise ValueError(f"there is no rank {k} among {len(values)} values")
    if _is_chunked(values):
        return float(np.partition(_numpy(values), k - 1)[k - 1])
    return float(values.kthvalue(k).values)


def ascending(values: Tensor) -> Tensor:
    """Return `values` (1-D) sorted, NaN last.

    >>> ascending(torch.tensor([3.0, 1.0, 2.0]))
    tensor([1., 2., 3.])
    """
    if _is_chunked(values):
        return torch.from_numpy(np.sort(_numpy(values)))
    return values.sort().values


def kth_per_row(rows: Tensor, k: int) -> Tensor:
    """Return the k-th largest of each row of a matrix, as a column; NaN where it is among the k.

    >>> kth_per_row(torch.tensor([[3.0, 1.0, 2.0], [4.0, 6.0, 5.0]]), 2).tolist()
    [[2.0], [5.0]]
    """
    if not _is_chunked(rows):
        return rows.topk(k, dim=1, sorted=False).values.amin(dim=1, keepdim=True)
    least, (num_rows, size) = torch.empty(len(rows), 1, dtype=rows.dtype), rows.shape
    step = max(1, _SIZE // size)
    for start in range(0, num_rows, step):
        block = _numpy(rows[start : start + step])
        largest = np.partition(block, size - k, axis=1)[:, size - k :]
        np.min(largest, axis=1, keepdims=True, out=_numpy(least[start : start + step]))
    return least


def positions(mask: Tensor) -> Tensor:
    """Return the flat indices of the True entries, ascending.

    >>> positions(torch.tensor([[False, True], [True, False]]))
    tensor([1, 2])
    """
    if _is_chunked(mask):
        return torch.from_numpy(np.flatnonzero(mask.numpy()))
    return mask.flatten().nonzero().flatten()


def _num(
    values: Tensor, bound: float, fast: np.ufunc, plain: Callable[[Tensor, float], Tensor]
) -> int:
    if not _is_chunked(values):
        return count(plain(values, bound))
    return sum(int(np.count_nonzero(fast(chunk, bound))) for chunk in _chunks(values.flatten()))


def _is_chunked(values: Tensor) -> bool:
    return values.device.type == "cpu" and values.dtype in _DTYPES


def _numpy(values: Tensor) -> "np.ndarray[Any, Any]":
    return values.detach().numpy()


def _chunks(values: Tensor) -> "Iterator[np.ndarray[Any, Any]]":
    array = _numpy(values)
    for start in range(0, len(array), _SIZE):
        yield array[start : start + _SIZE]
