"""Layers with all their weights, finished as the sparse ones are; and those stored as CSR."""

from __future__ import annotations

import warnings
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sparsekit.inference.layers import Activation, Pair
from sparsekit.inference.rows import SparseRows


def linear(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    residual: Tensor | None,
    activation: Activation | None,
) -> Tensor:
    """Return activation(x W^T + bias + residual)."""
    return finished_(F.linear(x, weight, bias), residual, activation)


def conv2d(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    residual: Tensor | None,
    activation: Activation | None,
    stride: Pair,
    padding: Pair,
    dilation: Pair,
    groups: int,
) -> Tensor:
    """Return activation(convolution(x) + bias + residual), zero-padded."""
    out = F.conv2d(x, weight, bias, stride, padding, dilation, groups)
    return finished_(out, residual, activation)


def affine(x: Tensor, scale: Tensor, shift: Tensor, activation: Activation | None) -> Tensor:
    """Return activation(x * scale + shift), in the layout of x."""
    return finished_(torch.addcmul(shift, x, scale), None, activation)


class CsrLinear(nn.Module):
    """x [..., in] -> activation(x W^T + bias + residual), by PyTorch's own CSR matrices."""

    bias: Tensor | None
    matrix: Tensor

    def __init__(
        self, rows: SparseRows, bias: Tensor | None = None, *, activation: Activation | None = None
    ) -> None:
        super().__init__()
        self.activation, self.num_rows = activation, rows.num_rows
        size = (rows.num_rows, rows.num_columns)
        columns, values = rows.columns.to(torch.int32), rows.values.float()
        with warnings.catch_warnings():  # "support is in beta state"
            warnings.simplefilter("ignore")
            matrix = torch.sparse_csr_tensor(rows.starts, columns, values, size)
        self.register_buffer("matrix", matrix)
        self.register_buffer("bias", torch.zeros(rows.num_rows) if bias is None else bias)

    def forward(self, x: Tensor, residual: Tensor | None = None) -> Tensor:
        """Return the outputs; `residual` [..., out] is added before the activation."""
        assert self.bias is not None
        flat = x.reshape(-1, x.shape[-1])
        if len(flat) == 1:
            out = torch.addmv(self.bias, self.matrix, flat[0])
        else:
            out = torch.addmm(self.bias[:, None], self.matrix, flat.t()).t()
        return finished_(out.view(*x.shape[:-1], self.num_rows), residual, self.activation)


def finished_(out: Tensor, residual: Tensor | None, activation: Activation | None) -> Tensor:
    """Add the residual and apply the activation, in place."""
    if residual is not None:
        out = out.add_(residual)
    return out.relu_() if activation == "relu" else out


DENSE: dict[str, Any] = {"affine": affine, "linear": linear, "conv2d": conv2d}
