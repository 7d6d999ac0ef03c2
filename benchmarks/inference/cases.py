"""Random sparse layers: constant fan-in as SRigL leaves them, differing rows as pruning does."""

from __future__ import annotations

import copy
import math
import warnings
from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor

from sparsekit.core.counts import budget
from sparsekit.inference.layers import SparseLinear
from sparsekit.inference.rows import SparseRows, sparse_rows

COLD = 128 * 2**20
"""Bytes of copies of one layer that a cold measurement goes through: many times an L2 cache.

All ways together go through several times as much between two samples of one of them.
"""
SPREAD = 0.5
"""Standard deviation of the logarithm of the scale of rows and columns, where rows differ."""
CONSTANT, DIFFERING = "constant fan-in", "differing rows"
OURS = tuple(
    f"{rows}, {dtype}" for rows in (CONSTANT, DIFFERING) for dtype in ("float32", "bfloat16")
)
DENSE, CSR = ("F.linear", "addmv"), ("CSR addmv", "CSR @ x.t()")
Work = Callable[[], Tensor]


@dataclass(frozen=True)
class Case:
    """One layer at one batch size; `is_cold`: weights come from memory, not from a cache."""

    inputs: int
    outputs: int
    sparsity: float
    batch: int
    is_cold: bool = False


@dataclass(frozen=True)
class Weights:
    """A layer in all its forms."""

    dense: Tensor
    csr: Tensor
    rows: dict[str, SparseRows]


def constant_mask(outputs: int, inputs: int, sparsity: float) -> Tensor:
    """A mask that keeps as many weights in each row, at random places."""
    kept = max(1, round((1 - sparsity) * inputs))
    places = torch.rand(outputs, inputs).topk(kept).indices
    return torch.zeros(outputs, inputs, dtype=torch.bool).scatter_(1, places, True)


def differing_mask(outputs: int, inputs: int, sparsity: float) -> Tensor:
    """A mask by magnitude over the whole layer, whose rows and columns are of unequal scale."""
    scale = torch.exp(SPREAD * torch.randn(outputs, 1)) * torch.exp(SPREAD * torch.randn(inputs))
    magnitude = (torch.randn(outputs, inputs) * scale).abs().flatten()
    kept = magnitude.topk(budget(magnitude.numel(), sparsity), sorted=False).indices
    flat = torch.zeros_like(magnitude, dtype=torch.bool).index_fill_(0, kept, True)
    return flat.view(outputs, inputs)


def weights(inputs: int, outputs: int, sparsity: float) -> Weights:
    """Random weights of a layer, by the names of `OURS`."""
    torch.manual_seed(0)
    dense = torch.randn(outputs, inputs) / math.sqrt(inputs)
    masks = {
        CONSTANT: constant_mask(outputs, inputs, sparsity),
        DIFFERING: differing_mask(outputs, inputs, sparsity),
    }
    rows = {
        f"{name}, {str(dtype).removeprefix('torch.')}": sparse_rows(dense, mask, dtype=dtype)
        for name, mask in masks.items()
        for dtype in (torch.float32, torch.bfloat16)
    }
    return Weights(dense, stock(rows[f"{CONSTANT}, float32"]), rows)


def stock(rows: SparseRows) -> Tensor:
    """PyTorch's CSR matrix, with the indices of 32 bits that are fastest there."""
    columns, size = rows.columns.to(torch.int32), (rows.num_rows, rows.num_columns)
    with warnings.catch_warnings():  # "support is in beta state"
        warnings.simplefilter("ignore")
        return torch.sparse_csr_tensor(rows.starts, columns, rows.values, size)


def works(layer: Weights, case: Case) -> dict[str, list[Work]]:
    """What each way does, on each of its copies of the layer; checked to compute the same."""
    x = torch.randn(case.batch, case.inputs)
    made = {
        "F.linear": [_linear(w, x) for w in copies(layer.dense, layer.dense.nbytes, case)],
        **{
            name: [_csr(name, matrix, x) for matrix in csr_copies(layer.csr, case)]
            for name in (CSR if case.batch == 1 else CSR[1:])
        },
    }
    if case.batch == 1:
        made["addmv"] = [_addmv(w, x[0]) for w in copies(layer.dense, layer.dense.nbytes, case)]
    for name, rows in layer.rows.items():
        found = [SparseLinear(one) for one in copies(rows, num_bytes(rows), case)]
        made[name] = [_call(one, x) for one in found]
        _require_same(made[name][-1](), F.linear(x, rows.dense()), name)
    return made


def copies(one: object, size: int, case: Case) -> list[object]:
    """As many copies as a case goes through: one, or enough to be cold."""
    number = max(2, math.ceil(COLD / size)) if case.is_cold else 1
    return [one if not place else _copied(one) for place in range(number)]


def csr_copies(matrix: Tensor, case: Case) -> list[object]:
    """Copies of a CSR matrix."""
    return copies(matrix, 8 * matrix.values().numel(), case)


def num_bytes(rows: SparseRows) -> int:
    """Bytes that a product with these rows reads."""
    return rows.values.nbytes + rows.columns.nbytes + rows.starts.nbytes


def _copied(one: object) -> object:
    if isinstance(one, SparseRows):
        parts = {name: getattr(one, name).clone() for name in ("values", "columns", "starts")}
        return replace(one, **parts)
    return one.clone() if isinstance(one, Tensor) else copy.deepcopy(one)


def _linear(weight: Tensor, x: Tensor) -> Work:
    return lambda: F.linear(x, weight)


def _addmv(weight: Tensor, x: Tensor) -> Work:
    start = torch.zeros(len(weight))
    return lambda: torch.addmv(start, weight, x)


def _csr(name: str, matrix: Tensor, x: Tensor) -> Work:
    if name == "CSR addmv":
        return _addmv(matrix, x[0])
    return lambda: matrix @ x.t()


def _call(layer: SparseLinear, x: Tensor) -> Work:
    return lambda: layer(x)


def _require_same(found: Tensor, expected: Tensor, name: str) -> None:
    apart = float((found - expected).abs().max() / expected.abs().max())
    if not apart < 1e-4:
        raise RuntimeError(f"{name} differs from the dense layer by {apart:.2g} of its outputs")
