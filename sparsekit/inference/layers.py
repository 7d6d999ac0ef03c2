"""Layers that multiply by the kept weights alone."""

from __future__ import annotations

import functools
import inspect
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sparsekit.inference import gpu
from sparsekit.inference.convolving import Convolution
from sparsekit.inference.fallback import Fallback
from sparsekit.inference.library import library
from sparsekit.inference.multiplying import Product
from sparsekit.inference.planes import Pair, Shape
from sparsekit.inference.rows import SparseRows

Activation = Literal["relu"]


class _Sparse(nn.Module):
    bias: Tensor | None

    def __init__(
        self, rows: SparseRows, bias: Tensor | None, activation: Activation | None
    ) -> None:
        super().__init__()
        if bias is not None and bias.shape != (rows.num_rows,):
            raise ValueError(f"{rows.num_rows} rows have no bias of shape {tuple(bias.shape)}")
        self.rows, self.activation = rows, activation
        self.register_buffer("bias", None if bias is None else bias.detach().float().contiguous())

    @functools.cached_property
    def _fallback(self) -> Fallback:
        return Fallback(self.rows)

    def __getstate__(self) -> dict[str, Any]:
        """Return what a copy begins with; what kernels are given is made when it first runs."""
        made = {
            name
            for name, value in inspect.getmembers_static(type(self))
            if isinstance(value, functools.cached_property)
        }
        return {name: value for name, value in vars(self).items() if name not in made}

    def extra_repr(self) -> str:
        """Return shape and density of the weight."""
        rows = self.rows
        density = rows.kept / max(rows.num_rows * rows.num_columns, 1)
        return f"{rows.num_columns} -> {rows.num_rows}, density={density:.3f}"


class SparseLinear(_Sparse):
    """x [..., in] -> activation(x W^T + bias + residual) [..., out], float32.

    x may be a transposed view, [features, samples] in memory; with `by_feature` the result is one.
    """

    by_feature = False

    def __init__(
        self, rows: SparseRows, bias: Tensor | None = None, *, activation: Activation | None = None
    ) -> None:
        super().__init__(rows, bias, activation)
        self._columns, self._num_rows = rows.num_columns, rows.num_rows

    @functools.cached_property
    def _product(self) -> Product | None:
        kernels = library()
        relu = self.activation == "relu"
        return None if kernels is None else Product(kernels, self.rows, relu=relu)

    def gelu(self, x: Tensor) -> Tensor:
        """Return GELU of the outputs of a layer that has no activation of its own."""
        assert self.activation is None
        product, last = self._product, x.shape[-1] if x.ndim else 0
        if product is None or not x.is_cpu or last != self._columns:
            return F.gelu(self.forward(x))
        if x.numel() <= product.few_at_most * last:
            return F.gelu(self.forward(x))
        _require_float32(x)
        flat = x if x.ndim == 2 else x.reshape(-1, last)
        bias = self._buffers["bias"]
        out = product.many(flat, bias, None, by_feature=self.by_feature, gelu=True)
        return out if x.ndim == 2 else out.view(*x.shape[:-1], self._num_rows)

    def forward(self, x: Tensor, residual: Tensor | None = None) -> Tensor:
        """Return the outputs; `residual` [..., out] is added before the activation.

        Here every look-up counts: of one sample and a few weights the product takes no longer.
        """
        if not x.is_cpu:
            return gpu.linear(self, x, residual)
        if x.dtype is not torch.float32:
            _require_float32(x)
        shape = x.shape
        if len(shape) != 2:
            return self._flattened(x, residual)
        # Kernels read as much as these shapes say.
        samples, last = shape
        if last != self._columns:
            raise ValueError(f"expected [..., {self._columns}], got {tuple(shape)}")
        if residual is not None:
            self._require_residual(residual, (samples, self._num_rows))
        bias, product = self._buffers["bias"], self._product
        if product is None or not samples or not last:
            return _finished(self._fallback.product(x, bias), residual, self.activation)
        if samples == 1 or (
            samples <= product.few_at_most and not self.by_feature and x.is_contiguous()
        ):
            return product.few(x, samples, bias, residual)
        return product.many(x, bias, residual, by_feature=self.by_feature)

    def _flattened(self, x: Tensor, residual: Tensor | None) -> Tensor:
        """Return the outputs for x [in] and [..., ..., in]."""
        *before, last = x.shape or (0,)
        if last != self._columns:
            raise ValueError(f"expected [..., {self._columns}], got {tuple(x.shape)}")
        if residual is not None:
            self._require_residual(residual, (*before, self._num_rows))
            residual = residual.reshape(-1, self._num_rows)
        return self.forward(x.reshape(-1, last), residual).view(*before, self._num_rows)

    def _require_residual(self, residual: Tensor, shape: tuple[int, ...]) -> None:
        if residual.shape != shape or residual.dtype is not torch.float32:
            raise ValueError(
                f"the residual must be {torch.float32} {shape}, got {residual.dtype} "
                f"{tuple(residual.shape)}"
            )


class SparseConv2d(_Sparse):
    """x [N, C, H, W] -> activation(convolution(x) + bias + residual), zero-padded, float32.

    The columns of `rows` are those of the weight [out, C / groups, kernel height, kernel width],
    flattened. Results lie in memory as the next such layer wants them, see `convolving`.
    """

    def __init__(
        self,
        rows: SparseRows,
        bias: Tensor | None = None,
        *,
        kernel_size: Pair,
        stride: Pair = (1, 1),
        padding: Pair = (0, 0),
        dilation: Pair = (1, 1),
        groups: int = 1,
        activation: Activation | None = None,
    ) -> None:
        super().__init__(rows, bias, activation)
        taps = kernel_size[0] * kernel_size[1]
        if rows.num_columns % taps or rows.num_rows % groups:
            raise ValueError(
                f"{rows.num_rows} rows of {rows.num_columns} columns are no convolution of "
                f"{kernel_size} in {groups} groups"
            )
        self.kernel_size, self.stride, self.padding = kernel_size, stride, padding
        self.dilation, self.groups = dilation, groups
        self.in_channels = rows.num_columns // taps * groups

    @property
    def shape(self) -> Shape:
        """Return what kind of convolution this is."""
        settings = (self.kernel_size, self.stride, self.padding, self.dilation, self.groups)
        return Shape(self.in_channels, *settings)

    @functools.cached_property
    def _convolution(self) -> Convolution | None:
        kernels, relu = library(), self.activation == "relu"
        return None if kernels is None else Convolution(kernels, self.rows, self.shape, relu=relu)

    def forward(self, x: Tensor, residual: Tensor | None = None, overwrite: bool = False) -> Tensor:
        """Return the outputs [N, out, H', W']; `residual` is added before the activation.

        With `overwrite` they may lie where the residual was.
        """
        if not x.is_cpu:
            return gpu.conv2d(self, x, residual)
        _require_float32(x)
        if x.ndim != 4 or x.shape[1] != self.in_channels:
            raise ValueError(f"expected [N, {self.in_channels}, H, W], got {tuple(x.shape)}")
        if residual is not None:
            _require_float32(residual)
        convolution = self._convolution
        if convolution is not None and len(x):
            return convolution(x, self._buffers["bias"], residual, overwrite=overwrite)
        weight = self._fallback.dense.view(self.rows.num_rows, -1, *self.kernel_size)
        out = F.conv2d(x, weight, self.bias, self.stride, self.padding, self.dilation, self.groups)
        return _finished(out, residual, self.activation)


def _require_float32(x: Tensor) -> None:
    if x.dtype is not torch.float32:
        raise TypeError(f"sparse layers take float32, got {x.dtype}")


def _finished(out: Tensor, residual: Tensor | None, activation: Activation | None) -> Tensor:
    if residual is not None:
        out = out + residual
    return out.relu() if activation == "relu" else out
