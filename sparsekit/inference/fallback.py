"""The same products by PyTorch alone, where there are no kernels."""

from __future__ import annotations

import functools

import torch
import torch.nn.functional as F
from torch import Tensor

from sparsekit.inference.rows import SparseRows

_DENSE_FROM = 0.3
"""At this density and above the dense product is used."""

_BAGS_FROM = 64
"""From this batch size on `embedding_bag` is faster than the CSR product."""


class Fallback:
    """A sparse weight as tensors of PyTorch, made when first needed."""

    def __init__(self, rows: SparseRows) -> None:
        self.rows = rows
        self.is_dense = rows.kept >= _DENSE_FROM * rows.num_rows * rows.num_columns

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
        if self.is_dense or not self.rows.kept:
            return F.linear(x, self.dense, bias)
        if len(x) == 1:
            start = x.new_zeros(self.rows.num_rows) if bias is None else bias
            return torch.addmv(start, self._csr, x[0])[None]
        if len(x) < _BAGS_FROM:
            out = (self._csr @ x.t()).t()
        else:
            starts = self.rows.starts[:-1]
            out = F.embedding_bag(
                self._columns, x.t(), starts, mode="sum", per_sample_weights=self._values
            ).t()
        return out if bias is None else out + bias
