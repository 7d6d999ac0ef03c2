"""A converted network whose sparse layers are PyTorch's own CSR matrices."""

from __future__ import annotations

import warnings
from dataclasses import replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sparsekit.inference.dense import finished_
from sparsekit.inference.graph import Graph, Node
from sparsekit.inference.rows import SparseRows
from sparsekit.inference.running import SparseNetwork, layer_of


class CsrConv2d(nn.Module):
    """x [N, C, H, W] -> activation(convolution(x) + bias + residual), as CSR times unfolded x."""

    def __init__(self, rows: SparseRows, bias: Tensor | None, arguments: Any) -> None:
        super().__init__()
        self.activation = arguments["activation"]
        self.kernel, self.stride, self.padding, self.dilation = (
            tuple(arguments[name]) for name in ("kernel_size", "stride", "padding", "dilation")
        )
        self.bias = torch.zeros(rows.num_rows) if bias is None else bias
        size = (rows.num_rows, rows.num_columns)
        with warnings.catch_warnings():  # "support is in beta state"
            warnings.simplefilter("ignore")
            self.matrix = torch.sparse_csr_tensor(
                rows.starts, rows.columns.to(torch.int32), rows.values.float(), size
            )
        self.is_pointwise = (self.kernel, self.stride, self.padding) == ((1, 1), (1, 1), (0, 0))

    def forward(self, x: Tensor, residual: Tensor | None = None) -> Tensor:
        """Return the outputs [N, out, H', W']; `residual` is added before the activation."""
        extents = zip(
            x.shape[2:], self.kernel, self.dilation, self.padding, self.stride, strict=True
        )
        size = [(n + 2 * p - d * (k - 1) - 1) // s + 1 for n, k, d, p, s in extents]
        geometry = self.kernel, self.dilation, self.padding, self.stride
        taps = x.flatten(2) if self.is_pointwise else F.unfold(x, *geometry)
        columns = taps.transpose(0, 1).flatten(1)
        out = torch.addmm(self.bias[:, None], self.matrix, columns)
        out = out.view(-1, len(x), *size).transpose(0, 1)
        return finished_(out, residual, self.activation)


def with_stock_csr(graph: Graph) -> SparseNetwork:
    """Return a graph as a module whose sparse layers are CSR; those of several groups stay ours."""
    nodes = tuple(
        replace(node, op="csr_linear") if node.op == "sparse_linear" else node
        for node in graph.nodes
    )
    return SparseNetwork(replace(graph, nodes=nodes), make_layer=_stock_layer)


def _stock_layer(node: Node, graph: Graph) -> nn.Module | None:
    if node.op != "sparse_conv2d" or node.arguments["groups"] != 1:
        return layer_of(node, graph)
    bias = node.arguments["bias"]
    rows = graph.weights[node.arguments["weight"].name]
    return CsrConv2d(rows, graph.tensors[bias.name] if bias else None, node.arguments)
