"""Sparse layers whose kept weights are trained: parameters and gradients of kept weights alone.

The products are dense, and so are their temporary weights; what an optimizer holds is condensed.
"""

from __future__ import annotations

import dataclasses

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sparsekit.inference.layers import SparseConv2d, SparseLinear


class Trained(nn.Module):
    """A sparse layer with `values` [kept] and `bias` as float32 parameters.

    Outputs and gradients are those of the dense layer whose other weights are 0 and stay so.
    """

    def __init__(self, layer: SparseLinear | SparseConv2d) -> None:
        super().__init__()
        self._layer = [layer]  # not a submodule: it holds the weights as they were
        rows = layer.rows
        self.values = nn.Parameter(rows.values.float().clone())
        bias = layer.bias
        self.bias = None if bias is None else nn.Parameter(bias.clone())
        self.register_buffer("_places", torch.stack([rows.row_numbers(), rows.columns.long()]))

    def forward(self, x: Tensor, residual: Tensor | None = None) -> Tensor:
        """Return what the sparse layer would with these values."""
        (layer,) = self._layer
        places = self.get_buffer("_places")
        empty = self.values.new_zeros(layer.rows.num_rows, layer.rows.num_columns)
        weight = empty.index_put((places[0], places[1]), self.values)
        if isinstance(layer, SparseLinear):
            out = F.linear(x, weight, self.bias)
        else:
            weight = weight.view(layer.rows.num_rows, -1, *layer.kernel_size)
            shape = (layer.stride, layer.padding, layer.dilation, layer.groups)
            out = F.conv2d(x, weight, self.bias, *shape)
        out = out if residual is None else out + residual
        return out.relu() if layer.activation == "relu" else out

    def sparse(self) -> SparseLinear | SparseConv2d:
        """Return the sparse layer with the values and the bias as they are now."""
        (layer,) = self._layer
        values = self.values.detach().to(layer.rows.values.dtype, copy=True)
        rows = dataclasses.replace(layer.rows, values=values)
        bias = None if self.bias is None else self.bias.detach().clone()
        if isinstance(layer, SparseLinear):
            return SparseLinear(rows, bias, activation=layer.activation)
        return SparseConv2d(
            rows, bias, kernel_size=layer.kernel_size, stride=layer.stride, padding=layer.padding,
            dilation=layer.dilation, groups=layer.groups, activation=layer.activation,
        )  # fmt: skip
