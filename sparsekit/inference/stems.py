"""First layers: dense convolutions of few channels, in the layout that sparse layers read.

PyTorch's leave channels last, so that pools and sparse layers behind them would turn them around. A
max pool behind one is computed with it: what it reads, four times what it returns, stays near.
"""

from __future__ import annotations

import ctypes
import itertools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from sparsekit.inference import dense
from sparsekit.inference.convolving import copied_with_borders
from sparsekit.inference.form import LARGEST
from sparsekit.inference.graph import Graph, Node, Of, references
from sparsekit.inference.library import CDense, CWindows, Library, address, library
from sparsekit.inference.memory import copied
from sparsekit.inference.packed import odd_lines
from sparsekit.inference.planes import (
    Pair,
    Shape,
    bordered,
    empty_images,
    images,
    offsets,
)
from sparsekit.inference.pooling import max_pool2d, pair, reaches_all
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


def pooled_stems(graph: Graph, found: Mapping[str, Stem]) -> dict[str, PooledStem]:
    """Return which of the stems `found` only a pool reads, by the names of the pools."""
    pooled = {}
    for node in graph.nodes:
        if node.name not in found or node.name in references(graph.outputs):
            continue
        readers = [reader for reader in graph.nodes if node.name in reader.reads()]
        if len(readers) == 1 and (pool := pool_of(readers[0])) is not None:
            pooled[readers[0].name] = PooledStem(node, found[node.name], pool)
    return pooled


def pool_of(node: Node) -> Pool | None:
    """Return what a node pools by, None for other operations and other kinds of pools."""
    if node.op != "aten.max_pool2d.default":
        return None
    given = node.arguments
    size = pair(given["kernel_size"])
    pool = Pool(size, pair(given.get("stride") or size), pair(given.get("padding", (0,))))
    plain = not given.get("ceil_mode", False) and pair(given.get("dilation", (1,))) == (1, 1)
    return pool if plain else None


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


class Pool(NamedTuple):
    """Windows whose largest numbers are wanted: their size, steps and padding, rows first."""

    kernel_size: Pair
    stride: Pair
    padding: Pair


@dataclass(frozen=True, eq=False)
class _Plan:
    """How the weight meets images of one size; `dense` is called with `where`, which it points to.

    There are `lines` of `width` columns, and lines of inputs begin `step` apart.
    """

    where: Tensor
    dense: CDense
    halo: tuple[int, ...]
    pitch: int
    lines: int
    width: int
    step: int


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
        self._library = kernels
        self._plans: dict[tuple[int, int, int], _Plan] = {}

    def __call__(self, x: Tensor, weight: Tensor, *settings: Any) -> Tensor:
        """Return activation(convolution(x) + bias) [N, out, H', W']."""
        if (plan := self._usual(x)) is None:
            return dense.conv2d(x, weight, *settings)
        n, threads = len(x), torch.get_num_threads()
        start = self._bordered(plan, x, threads)
        size, strides = images(n, self._num_rows, plan.lines, plan.width)
        out = empty_images(size, strides)
        self._library.functions.sparsekit_dense_planes(
            ctypes.addressof(plan.dense), start.data_ptr(), plan.lines, plan.width * n, plan.step,
            out.data_ptr(), out.stride(1), threads,
        )  # fmt: skip
        return out

    def pooled(self, pool: Pool, x: Tensor, weight: Tensor, *settings: Any) -> Tensor:
        """Return the largest outputs of each window [N, out, H'', W'']."""
        plan = self._usual(x)
        if plan is None or not all(map(reaches_all, (plan.lines, plan.width), *pool)):
            return max_pool2d(self(x, weight, *settings), *pool)
        n, threads = len(x), torch.get_num_threads()
        start, windows = self._bordered(plan, x, threads), CWindows(*itertools.chain(*pool))
        shape = Shape(self._num_rows, *pool, (1, 1), self._num_rows)
        lines, width = shape.out_size(plan.lines, plan.width)
        out = empty_images(*images(n, self._num_rows, lines, width))
        if self._library.functions.sparsekit_dense_pooled(
            ctypes.addressof(plan.dense), start.data_ptr(), plan.lines, plan.width, n, plan.step,
            ctypes.addressof(windows), lines, width, out.data_ptr(), out.stride(1), threads,
        ):  # fmt: skip
            raise MemoryError("a convolution found no memory for what is pooled")
        return out

    def _usual(self, x: Tensor) -> _Plan | None:
        """Return how images are met; None for those that PyTorch's convolution must have."""
        wants_gradient = torch.is_grad_enabled() and x.requires_grad
        usual = x.ndim == 4 and x.shape[1] == self._shape.channels and x.dtype is torch.float32
        if not usual or wants_gradient or x.device.type != "cpu" or not len(x):
            return None
        n, channels, height, width = x.shape
        plan = self._plan(n, height, width)
        fits = plan.width * n >= _NARROWEST and channels * plan.pitch < LARGEST
        return plan if fits else None

    def _bordered(self, plan: _Plan, x: Tensor, threads: int) -> Tensor:
        return copied_with_borders(self._library, x, plan.halo, plan.pitch, threads)

    def _plan(self, n: int, height: int, width: int) -> _Plan:
        """Return the plan for images of a size, and keep it."""
        if (found := self._plans.get((n, height, width))) is not None:
            return found
        lines, out_width = self._shape.out_size(height, width)
        halo, steps, columns = bordered(self._shape, (n, height, width), out_width)
        pitch = odd_lines(columns)
        where = offsets(self._first, self._shape, steps, halo[5], pitch)
        kernel = CDense(
            address(where), address(self._weight), address(self._bias), self._inputs,
            self._num_rows, self._relu,
        )  # fmt: skip
        found = _Plan(where, kernel, halo, pitch, lines, out_width, steps[1])
        self._plans[n, height, width] = found
        return found


@dataclass(frozen=True, eq=False)
class PooledStem:
    """A stem and the pool behind it, called as `dense.conv2d` is for the node of the stem."""

    node: Node
    stem: Stem
    pool: Pool

    def __call__(self, x: Tensor, weight: Tensor, *settings: Any) -> Tensor:
        """Return what the pool does of what the stem does."""
        return self.stem.pooled(self.pool, x, weight, *settings)
