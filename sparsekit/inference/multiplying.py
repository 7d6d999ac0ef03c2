"""A linear layer as rows times samples, in memory as the kernels want it."""

from __future__ import annotations

import torch
from torch import Tensor, get_num_threads

from sparsekit.inference.blocking import Blocked, blocked
from sparsekit.inference.library import Library, address
from sparsekit.inference.memory import empty
from sparsekit.inference.packed import planes
from sparsekit.inference.rows import SparseRows
from sparsekit.inference.slicing import Sliced, sliced

_FEW = 8
"""So many samples are multiplied by slices of rows at most."""

_NEAR = 40 * 1024
"""Bytes of inputs that stay in a first cache."""

_KEPT = 24
"""So many weights a row keeps in a block at least, on average: less does not pay for its sums."""


class Product:
    """A sparse weight bound to its kernels: activation(x W^T + bias + residual), float32.

    The forms of the weight are made when they are first needed.
    """

    def __init__(self, library: Library, rows: SparseRows, *, relu: bool) -> None:
        self._library, self._rows, self._relu = library, rows, relu
        self._forms: dict[int, Blocked] = {}
        self._slices: list[Sliced] = []
        self._address = 0
        self._tiles = [vectors * library.slicing.lanes for vectors in (1, 2, 4)]
        self.few_at_most = _FEW if library.slicing.block else 1
        self._num_columns, self._num_rows = rows.num_columns, rows.num_rows
        types = rows.values.dtype, rows.columns.dtype
        self._few = library.function("few", *types)
        self._linear = library.function("linear", *types)

    def _slice(self) -> int:
        """Make the weight for few samples, and return its address, which never is 0.

        Where two threads come here at once both weights are kept: each is in use.
        """
        made = sliced(self._rows, self._library, relu=self._relu)
        self._slices.append(made)
        self._address = made.address
        return made.address

    def _blocked(self, batch: int) -> Blocked:
        """Return the weight in blocks of as many inputs as a first cache holds of `batch`."""
        columns = next((one for one in self._tiles if batch <= one), self._tiles[-1])
        if columns not in self._forms:
            kept = self._rows.kept / max(self._rows.num_rows * self._num_columns, 1)
            inputs = max(_NEAR // (4 * columns), _KEPT / max(kept, 1e-9))
            self._forms[columns] = blocked(self._rows, max(1, round(self._num_columns / inputs)))
        return self._forms[columns]

    def few(self, x: Tensor, samples: int, bias: Tensor | None, residual: Tensor | None) -> Tensor:
        """Return the outputs [samples, out] of a few samples [samples, in]."""
        # Named, so that copies live as long as their addresses are used.
        x = x if x.is_contiguous() else x.contiguous()
        residual = None if residual is None else residual.contiguous()
        out = torch.empty(samples, self._num_rows)
        failed = self._few(
            self._address or self._slice(), x.data_ptr(), out.data_ptr(),
            None if bias is None else bias.data_ptr(),
            None if residual is None else residual.data_ptr(), samples, get_num_threads(),
        )  # fmt: skip
        if failed:
            raise MemoryError("a linear layer found no memory for its inputs")
        return out

    def many(
        self,
        x: Tensor,
        bias: Tensor | None,
        residual: Tensor | None,
        *,
        by_feature: bool,
        gelu: bool = False,
    ) -> Tensor:
        """Return the outputs [batch, out] for x [batch, in], which may be a transposed view.

        `by_feature`: so is the result, which suits a sparse layer after it. `gelu`: that of them,
        while they are near; not with another activation or a residual.
        """
        assert not gelu or (residual is None and not self._relu)
        sample, feature = x.stride()
        if feature != 1 and sample != 1:
            x, sample, feature = x.contiguous(), self._num_columns, 1
        batch, num_rows = len(x), self._num_rows
        out = (
            planes(num_rows, batch).t() if by_feature
            else empty(batch * num_rows).view(batch, num_rows)
        )  # fmt: skip
        places = (1, out.stride(1)) if by_feature else (num_rows, 1)
        if residual is not None and residual.stride() != out.stride():
            residual = torch.empty_strided(out.shape, out.stride()).copy_(residual)
        failed = self._linear(
            *self._blocked(batch).addresses, self._num_columns, x.data_ptr(), sample, feature,
            batch, out.data_ptr(), *places, address(bias), address(residual),
            2 if gelu else int(self._relu),
            get_num_threads(),
        )  # fmt: skip
        if failed:
            raise MemoryError("a linear layer found no memory for its sums")
        return out
