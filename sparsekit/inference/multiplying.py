"""A linear layer as rows times samples, in memory as the kernels want it."""

from __future__ import annotations

import torch
from torch import Tensor

from sparsekit.inference.library import Library, address
from sparsekit.inference.memory import empty
from sparsekit.inference.packed import packed, planes
from sparsekit.inference.rows import SparseRows


class Product:
    """A sparse weight bound to its kernels: activation(x W^T + bias + residual), float32."""

    def __init__(self, library: Library, rows: SparseRows, *, relu: bool) -> None:
        self.weight = packed(rows)
        self._rows, self._features = rows.num_rows, rows.num_columns
        self._relu, self._gathers = int(relu), int(library.gathers)
        self._single = self.weight.function(library, "single")
        self._linear = self.weight.function(library, "linear")

    def one(self, x: Tensor, bias: Tensor | None, residual: Tensor | None) -> Tensor:
        """Return the outputs [1, out] for a single sample x [..., in], of any number of ones."""
        out = torch.empty(1, self._rows)
        # Named, so that a copy lives as long as its address is used.
        x = x if x.is_contiguous() else x.contiguous()
        residual = None if residual is None else residual.contiguous()
        self._single(
            *self.weight.addresses, x.data_ptr(), out.data_ptr(), address(bias), address(residual),
            self._relu, self._gathers, torch.get_num_threads(),
        )  # fmt: skip
        return out

    def many(
        self, x: Tensor, bias: Tensor | None, residual: Tensor | None, *, by_feature: bool
    ) -> Tensor:
        """Return the outputs [batch, out] for x [batch, in], which may be a transposed view.

        `by_feature`: so is the result, which suits a sparse layer after it.
        """
        sample, feature = x.stride()
        if feature != 1 and sample != 1:
            x, sample, feature = x.contiguous(), self._features, 1
        batch = len(x)
        out = (
            planes(self._rows, batch).t()
            if by_feature
            else empty(batch * self._rows).view(batch, self._rows)
        )
        places = (1, out.stride(1)) if by_feature else (self._rows, 1)
        if residual is not None and residual.stride() != out.stride():
            residual = torch.empty_strided(out.shape, out.stride()).copy_(residual)
        failed = self._linear(
            *self.weight.addresses, self._features, x.data_ptr(), sample, feature, batch,
            out.data_ptr(), *places, address(bias), address(residual), self._relu,
            torch.get_num_threads(),
        )  # fmt: skip
        if failed:
            raise MemoryError("a linear layer found no memory for its sums")
        return out
