"""Sparse layers on a GPU: by Triton where it works, else by PyTorch's own operations."""

from __future__ import annotations

import functools
from dataclasses import replace
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

import torch
import torch.nn.functional as F
from torch import Tensor

from sparsekit.inference.rows import SparseRows

if TYPE_CHECKING:
    from sparsekit.inference.layers import Activation, SparseConv2d, SparseLinear

COPIED = 16
"""Examples from which on x is copied, if need be, so that those of a feature lie side by side."""
_moved: WeakKeyDictionary[SparseRows, dict[torch.device, SparseRows]] = WeakKeyDictionary()


def linear(layer: SparseLinear, x: Tensor, residual: Tensor | None) -> Tensor:
    """Return the outputs [..., out] of a linear layer; those of one feature lie side by side."""
    flat = x.reshape(-1, x.shape[-1]).t()
    if flat.stride(1) != 1 and flat.shape[1] >= COPIED:
        flat = flat.contiguous()
    added = None if residual is None else residual.reshape(-1, layer.rows.num_rows).t()
    out = multiply(rows_on(x.device, layer.rows), flat, layer.bias, added, layer.activation)
    return out.t().view(*x.shape[:-1], layer.rows.num_rows)


def conv2d(layer: SparseConv2d, x: Tensor, residual: Tensor | None) -> Tensor:
    """Return the outputs [N, out, H', W'] of a convolution.

    Only those of one group have kernels here; others are computed with all their weights.
    """
    if layer.groups != 1:
        return _by_groups(layer, x, residual)
    geometry = layer.kernel_size, layer.dilation, layer.padding, layer.stride
    height, width = (
        (size + 2 * padding - dilation * (kernel - 1) - 1) // stride + 1
        for size, kernel, dilation, padding, stride in zip(x.shape[2:], *geometry, strict=True)
    )
    taps = F.unfold(x, *geometry).transpose(0, 1).flatten(1)
    added = None if residual is None else residual.transpose(0, 1).flatten(1)
    out = multiply(rows_on(x.device, layer.rows), taps, layer.bias, added, layer.activation)
    return out.view(-1, len(x), height, width).transpose(0, 1)


def _by_groups(layer: SparseConv2d, x: Tensor, residual: Tensor | None) -> Tensor:
    weight = layer.rows.dense().view(layer.rows.num_rows, -1, *layer.kernel_size).to(x)
    geometry = layer.stride, layer.padding, layer.dilation, layer.groups
    out = F.conv2d(x, weight, layer.bias, *geometry)
    if residual is not None:
        out += residual
    return out.relu_() if layer.activation == "relu" else out


def multiply(
    rows: SparseRows,
    x: Tensor,
    bias: Tensor | None,
    residual: Tensor | None,
    activation: Activation | None,
) -> Tensor:
    """Return activation(rows @ x + bias + residual) [rows, batch]; x [columns, batch]."""
    if x.is_cuda and refusal() is None:
        from sparsekit.inference import triton_rows

        return triton_rows.multiply(rows, x, bias, residual, activation)
    return by_pytorch(rows, x, bias, residual, activation)


def by_pytorch(
    rows: SparseRows,
    x: Tensor,
    bias: Tensor | None,
    residual: Tensor | None,
    activation: Activation | None,
) -> Tensor:
    """Return what `multiply` does, each output as a bag of the rows of x."""
    out = F.embedding_bag(
        rows.columns.to(torch.int32),
        x.contiguous(),
        rows.starts,
        mode="sum",
        per_sample_weights=rows.values.to(x.dtype),
        include_last_offset=True,
    )
    if bias is not None:
        out += bias[:, None]
    if residual is not None:
        out += residual
    return out.relu_() if activation == "relu" else out


def description() -> str:
    """Say in one line what runs sparse layers on a GPU."""
    reason = refusal()
    return "Triton" if reason is None else f"PyTorch alone: {reason}"


@functools.cache
def refusal() -> str | None:
    """Say why Triton does not run here, None if it does: it is tried once, on one weight."""
    try:
        from sparsekit.inference import triton_rows

        one = torch.ones(1, device="cuda")
        starts = torch.tensor([0, 1], dtype=torch.int32, device="cuda")
        columns = torch.zeros(1, device="cuda", dtype=torch.int32)
        triton_rows.multiply(SparseRows(one, columns, starts, 1), one[:, None], None, None, None)
        torch.cuda.synchronize()
    except Exception as error:  # no Triton, no compiler for its launcher, a GPU it does not know
        return f"{type(error).__name__}: {str(error).partition(chr(10))[0]}"
    return None


def rows_on(device: torch.device, rows: SparseRows) -> SparseRows:
    """Return rows on a GPU, copied there at the first call."""
    there = _moved.setdefault(rows, {})
    if device not in there:
        values, columns, starts = (
            part.to(device) for part in (rows.values, rows.columns, rows.starts)
        )
        there[device] = replace(rows, values=values, columns=columns, starts=starts)
    return there[device]
