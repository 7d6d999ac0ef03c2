"""Layers that multiply by the kept weights alone."""

from __future__ import annotations

from typing import Literal

import torch.nn.functional as F
from torch import Tensor, nn

from sparsekit.inference import gpu
from sparsekit.inference.rows import SparseRows

Activation = Literal["relu"]
Pair = tuple[int, int]


class SparseLinear(nn.Module):
    """x [..., in] -> activation(x W^T + bias + residual) [..., out], float32.

    Results keep whatever strides suit the kernels; values and shapes are those of `F.linear`.
    """

    bias: Tensor | None

    def __init__(
        self, rows: SparseRows, bias: Tensor | None = None, *, activation: Activation | None = None
    ) -> None:
        super().__init__()
        self.rows, self.activation = rows, activation
        self.register_buffer("bias", bias)

    def forward(self, x: Tensor, residual: Tensor | None = None) -> Tensor:
        """Return the outputs; `residual` [..., out] is added before the activation."""
        if x.is_cuda:
            return gpu.linear(self, x, residual)
        return _finished(F.linear(x, self.rows.dense(), self.bias), residual, self.activation)


class SparseConv2d(nn.Module):
    """x [N, C, H, W] -> activation(convolution(x) + bias + residual), zero-padded, float32.

    The columns of `rows` are those of the weight [out, C / groups, kernel height, kernel width],
    flattened.
    """

    bias: Tensor | None

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
        super().__init__()
        self.rows, self.activation = rows, activation
        self.kernel_size, self.stride, self.padding = kernel_size, stride, padding
        self.dilation, self.groups = dilation, groups
        self.register_buffer("bias", bias)

    def forward(self, x: Tensor, residual: Tensor | None = None) -> Tensor:
        """Return the outputs [N, out, H', W']; `residual` is added before the activation."""
        if x.is_cuda:
            return gpu.conv2d(self, x, residual)
        weight = self.rows.dense().view(self.rows.num_rows, -1, *self.kernel_size)
        out = F.conv2d(x, weight, self.bias, self.stride, self.padding, self.dilation, self.groups)
        return _finished(out, residual, self.activation)


def _finished(out: Tensor, residual: Tensor | None, activation: Activation | None) -> Tensor:
    if residual is not None:
        out = out + residual
    return out.relu() if activation == "relu" else out
