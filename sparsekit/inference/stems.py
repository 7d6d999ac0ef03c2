"""First layers: dense convolutions of few channels, in the layout that sparse layers read.

PyTorch's leave channels last, so that pools and sparse layers behind them would turn them around.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from sparsekit.inference import dense
from sparsekit.inference.form import LARGEST
from sparsekit.inference.graph import Graph, Node, Of
from sparsekit.inference.library import Library, address, library
from sparsekit.inference.memory import copied, empty
from sparsekit.inference.packed import odd_lines
from sparsekit.inference.planes import (
    Shape,
    Size,
    bordered,
    empty_images,
    images,
    in_planes,
    offsets,
)
from sparsekit.inference.rows import sparse_rows

MOST_CHANNELS = 4
"""With more, products of blocks of the weight are faster than single rows of it."""

_ROWS = 4
"""Outputs that a kernel computes together."""

_NARROWEST = 16
"""Columns that a kernel needs in a line of outputs."""

_BETWEEN = ("aten.max_pool2d.default", "aten.relu.default")


def stems(graph: Graph) -> dict[str, Stem]:
    """Return the dense convolutions that are faster here than in PyTorch, by the names of nodes.

    They have few channels, windows that overlap, and sparse convolutions behind them, perhaps
    behind a pool. None without kernels.
    """
    kernels = library()
    if kernels is None:
        return {}
    return {node.name: Stem(kernels, node, graph) for node in graph.nodes if _is_stem(node, graph)}


def _is_stem(node: Node, graph: Graph) -> bool:
    given = node.arguments
    if node.op != "conv2d" or given["residual"] is not None or given["groups"] != 1:
        return False
    weight = graph.tensors.get(given["weight"].name)
    return (
        weight is not None
        and weight.ndim == 4
        and weight.dtype is torch.float32
        and weight.shape[1] <= MOST_CHANNELS
        and all(size > step for size, step in zip(weight.shape[2:], given["stride"], strict=True))
        and any(reader.op == "sparse_conv2d" for reader in _readers(node.name, graph))
    )


def _readers(name: str, graph: Graph) -> Iterator[Node]:
    """Yield the nodes that read a result, also through pools."""
    for node in graph.nodes:
        if name in node.reads():
            yield node
            if node.op in _BETWEEN:
                yield from _readers(node.name, graph)


@dataclass(frozen=True, eq=False)
class _Plan:
    """How the weight meets images of one size."""

    where: Tensor
    halo: tuple[int, ...]
    pitch: int
    runs: tuple[int, int, int]
    size: Size
    strides: Size


class Stem:
    """A dense convolution bound to its kernel, called as `dense.conv2d` is.

    The weight is that of the graph it was made of; the one it is given serves other devices.
    """

    def __init__(self, kernels: Library, node: Node, graph: Graph) -> None:
        given = node.arguments
        weight, bias = graph.tensors[given["weight"].name].detach(), given["bias"]
        pairs: Any = {name: tuple(given[name]) for name in ("stride", "padding", "dilation")}
        kernel_size = (weight.shape[2], weight.shape[3])
        self._shape = Shape(weight.shape[1], kernel_size, **pairs, groups=1)
        self._first = sparse_rows(weight[:1], torch.ones_like(weight[:1], dtype=torch.bool))
        rows = F.pad(weight.flatten(1), (0, 0, 0, -len(weight) % _ROWS))
        self._weight = copied(rows.view(-1, _ROWS, rows.shape[1]).transpose(1, 2))
        self._num_rows, self._inputs = len(weight), rows.shape[1]
        self._bias = graph.tensors[bias.name].contiguous() if isinstance(bias, Of) else None
        self._relu = int(given["activation"] == "relu")
        self._halo = kernels.functions.sparsekit_halo
        self._kernel = kernels.functions.sparsekit_dense_planes
        self._plans: dict[tuple[int, int, int], _Plan] = {}

    def __call__(self, x: Tensor, weight: Tensor, *settings: Any) -> Tensor:
        """Return activation(convolution(x) + bias) [N, out, H', W']."""
        wants_gradient = torch.is_grad_enabled() and x.requires_grad
        usual = x.ndim == 4 and x.shape[1] == self._shape.channels and x.dtype is torch.float32
        if not usual or wants_gradient or x.device.type != "cpu" or not len(x):
            return dense.conv2d(x, weight, *settings)
        n, channels, height, width = x.shape
        plan = self._plan(n, height, width)
        if plan.runs[1] < _NARROWEST or channels * plan.pitch >= LARGEST:
            return dense.conv2d(x, weight, *settings)
        x, threads = in_planes(x), torch.get_num_threads()
        start = empty(channels * plan.pitch)
        self._halo(x.data_ptr(), channels, height, width, n, x.stride(1), *plan.halo,
                   start.data_ptr(), plan.pitch, threads)  # fmt: skip
        out = empty_images(plan.size, plan.strides)
        self._kernel(
            plan.where.data_ptr(), self._weight.data_ptr(), self._inputs, self._num_rows,
            start.data_ptr(), *plan.runs, out.data_ptr(), plan.strides[1], address(self._bias),
            self._relu, threads,
        )  # fmt: skip
        return out

    def _plan(self, n: int, height: int, width: int) -> _Plan:
        """Return the plan for images of a size, and keep it."""
        if (found := self._plans.get((n, height, width))) is not None:
            return found
        lines, out_width = self._shape.out_size(height, width)
        halo, steps, columns = bordered(self._shape, (n, height, width), out_width)
        pitch = odd_lines(columns)
        where = offsets(self._first, self._shape, steps, halo[5], pitch)
        runs = (lines, out_width * n, steps[1])
        size, strides = images(n, self._num_rows, lines, out_width)
        self._plans[n, height, width] = found = _Plan(where, halo, pitch, runs, size, strides)
        return found
