"""The same products by PyTorch alone, where there are no kernels."""

from __future__ import annotations

import functools

import torch
import torch.nn.functional as F
from torch import Tensor

from sparsekit.inference.rows import SparseRows

_DENSE_FROM = 0.3
"""At this density and above the dense product is used."""

_FEW, _DENSE_FOR_FEW = 8, 0.05
"""For fewer samples, but more than one, from this density on."""

_TILE = 64
"""Larger batches are multiplied in parts of so many samples, whose inputs stay in caches."""


class Fallback:
    """A sparse weight as tensors of PyTorch, made when first needed."""

    def __init__(self, rows: SparseRows) -> None:
        self.rows = rows
        self.density = rows.kept / max(rows.num_rows * rows.num_columns, 1)

    @functools.cached_property
    def dense(self) -> Tensor:
        """Return the masked matrix [out, in]."""
        return self.rows.dense()

    @functools.cached_property
    def _values(self) -> Tensor:
        return self.rows.values.float()

    @functools.cached_property
    def _columns(self) -> Tensor:
        return self.rows.columns.to(torch.int32)

    @functools.cached_property
    def _csr(self) -> Tensor:
        size = (self.rows.num_rows, self.rows.num_columns)
        return torch.sparse_csr_tensor(
            self.rows.starts, self._columns, self._values, size, check_invariants=False
        )

    def product(self, x: Tensor, bias: Tensor | None) -> Tensor:
        """Return x W^T + bias [batch, out] for x [batch, in]."""
        dense_from = _DENSE_FOR_FEW if 1 < len(x) < _FEW else _DENSE_FROM
        if self.density >= dense_from or not self.rows.kept:
            return F.linear(x, self.dense, bias)
        if len(x) == 1:
            start = x.new_zeros(self.rows.num_rows) if bias is None else bias
            return torch.addmv(start, self._csr, x[0])[None]
        parts = [(self._csr @ part.t()).t() for part in torch.split(x, _TILE)]
        out = parts[0] if len(parts) == 1 else torch.cat(parts)
        return out if bias is None else out + bias
