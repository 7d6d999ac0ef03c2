"""Convolutions that are computed together, tile by tile of their columns.

In the large images of a network's first stages, sparse products wait for memory: each result is
written and read again before it is small enough to stay near. Together are computed, where all of
them read their own positions alone: a convolution, another one that only adds to it (the shortcut
of a residual block), and one that reads their sum next.
"""

from __future__ import annotations

import ctypes
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from sparsekit.inference.blocking import Blocked, blocked
from sparsekit.inference.convolving import blocks_of, places, read_by
from sparsekit.inference.graph import Graph, Node, Of, references
from sparsekit.inference.layers import SparseConv2d
from sparsekit.inference.library import CPart, CStage, Kernel, Library, address, library
from sparsekit.inference.operations import LAYERS
from sparsekit.inference.planes import NARROWEST, Reading, Size, images, reading


@dataclass(frozen=True, eq=False)
class Group:
    """Nodes: `added` is the residual of `first` alone, `after` reads what that one returns."""

    first: Node
    added: Node | None
    after: Node | None


def joined(graph: Graph, layers: Mapping[str, nn.Module | None]) -> dict[Group, Joined]:
    """Return which nodes are computed together, and by what; `layers` by the names of nodes."""
    kernels = library()
    if kernels is None:
        return {}
    found = {}
    for group in groups(graph):
        nodes = (group.first, group.added, group.after)
        members = [None if node is None else layers[node.name] for node in nodes]
        if all(one is None or isinstance(one, SparseConv2d) for one in members):
            found[group] = Joined(kernels, *members)  # type: ignore[arg-type]
    return found


def groups(graph: Graph) -> list[Group]:
    """Return which nodes can be computed together."""
    nodes, readers = {node.name: node for node in graph.nodes}, _readers(graph)
    found: list[Group] = []
    taken: set[str] = set()
    for node in graph.nodes:
        if node.name in taken or not _is_pointwise(node):
            continue
        residual = node.arguments["residual"]
        added = nodes.get(residual.name) if isinstance(residual, Of) else None
        if added and not (
            added.name not in taken
            and readers[added.name] == [node]
            and _only_adds(added, node, graph)
        ):
            added = None
        following = (one for one in readers[node.name] if one and _follows(one, node, graph))
        after = next(following, None)
        if added or after:
            found.append(Group(node, added, after))
            taken |= {one.name for one in (node, added, after) if one}
    return found


def unshared(graph: Graph) -> set[str]:
    """Return the results that lie in memory of their own, which no view shows."""
    readers = _readers(graph)
    return {
        node.name
        for node in graph.nodes
        if node.op == "sparse_conv2d"
        and all(reader is not None and reader.op in LAYERS for reader in readers[node.name])
    }


def _readers(graph: Graph) -> dict[str, list[Node | None]]:
    """Return who reads each result; None is the caller of the network."""
    readers: dict[str, list[Node | None]] = {node.name: [] for node in graph.nodes}
    for reader, names in (*((node, node.reads()) for node in graph.nodes),
                          (None, references(graph.outputs))):  # fmt: skip
        for name in names:
            if name in readers:
                readers[name].append(reader)
    return readers


def _is_pointwise(node: Node) -> bool:
    """Say whether outputs read one position each, perhaps not of all."""
    given = node.arguments
    return (
        node.op == "sparse_conv2d"
        and given["groups"] == 1
        and tuple(given["kernel_size"]) == (1, 1)
        and tuple(given["padding"]) == (0, 0)
    )


def _only_adds(node: Node, to: Node, graph: Graph) -> bool:
    """Say whether a node computes nothing but a part of the sum of another one."""
    given = node.arguments
    return (
        _is_pointwise(node)
        and given["activation"] is None
        and given["residual"] is None
        and _dtype(node, graph) == _dtype(to, graph)
    )


def _follows(node: Node, first: Node, graph: Graph) -> bool:
    """Say whether a node needs only what `first` returns, position by position."""
    return (
        _is_pointwise(node)
        and tuple(node.arguments["stride"]) == (1, 1)
        and node.arguments["x"] == Of(first.name)
        and node.arguments["residual"] is None
        and _dtype(node, graph) == _dtype(first, graph)
    )


def _dtype(node: Node, graph: Graph) -> torch.dtype:
    return graph.weights[node.arguments["weight"].name].values.dtype


@dataclass(frozen=True, eq=False)
class _Part:
    weight: Blocked
    reading: Reading


@dataclass(frozen=True, eq=False)
class _Plan:
    """How a group meets images: parts of the first layer, the layer after, and all columns."""

    parts: tuple[_Part, ...]
    after: _Part | None
    length: int
    size: Size
    strides: Size


class Joined:
    """A group of layers bound to its kernel, called with what `first` is called with.

    With `added` the residual is what that one reads; with `after` the outputs are a pair. With
    `overwrite` the sum may lie where the residual was.
    """

    def __init__(
        self,
        kernels: Library,
        first: SparseConv2d,
        added: SparseConv2d | None,
        after: SparseConv2d | None,
    ) -> None:
        self._library, self._first, self._added, self._after = kernels, first, added, after
        self._kernel: Kernel = kernels.function("joined", first.rows.values.dtype, torch.int32)
        biases = [one.bias for one in (first, added) if one is not None and one.bias is not None]
        self._bias = sum(biases[1:], biases[0]) if biases else None
        self._plans: dict[tuple[int, ...], _Plan | None] = {}

    def __call__(
        self, x: Tensor, residual: Tensor | None = None, overwrite: bool = False
    ) -> Tensor | tuple[Tensor, Tensor]:
        """Return what `first` returns, [N, out, H, W], and with `after` what that returns."""
        plan = None
        if x.device.type == "cpu" and x.dtype is torch.float32 and x.ndim == 4 and len(x):
            plan = self._plan(x, residual)
        if plan is None:
            return self._one_by_one(x, residual, overwrite)
        threads = torch.get_num_threads()
        read = [read_by(self._library, plan.parts[0].reading, x, threads)]
        if self._added is not None:
            assert residual is not None
            read.append(read_by(self._library, plan.parts[1].reading, residual, threads))
            residual = None
        out, residual = places(plan.size, plan.strides, residual, overwrite=overwrite)
        stages = (CStage * 2)()
        _fill(stages[0], plan.parts, read, out, self._bias, self._first)
        stages[0].residual = address(residual)
        stages[0].residual_pitch = 0 if residual is None else residual.stride(1)
        outs = [out]
        if self._after is not None and plan.after is not None:
            n, _, height, width = plan.size
            size, strides = images(n, self._after.rows.num_rows, height, width)
            outs.append(places(size, strides, None, overwrite=False)[0])
            then = [(out, out.stride(1))]
            _fill(stages[1], (plan.after,), then, outs[1], self._after.bias, self._after)
        self._kernel(ctypes.addressof(stages), len(outs), plan.length, threads)
        return outs[0] if len(outs) == 1 else (outs[0], outs[1])

    def _one_by_one(
        self, x: Tensor, residual: Tensor | None, overwrite: bool
    ) -> Tensor | tuple[Tensor, Tensor]:
        if self._added is not None and residual is not None:
            residual, overwrite = self._added(residual), True
        out: Tensor = self._first(x, residual, overwrite)
        return out if self._after is None else (out, self._after(out))

    def _plan(self, x: Tensor, residual: Tensor | None) -> _Plan | None:
        """Return how images of these sizes are met; None where kernels cannot, or not together."""
        sizes = (*x.shape, *(() if residual is None else residual.shape))
        if sizes not in self._plans:
            self._plans[sizes] = self._planned(
                x.shape, None if residual is None else residual.shape
            )
        return self._plans[sizes]

    def _planned(self, x: torch.Size, residual: torch.Size | None) -> _Plan | None:
        n, channels, *image = x
        if channels != self._first.in_channels or self._library.slicing.lanes < NARROWEST:
            return None
        height, width = self._first.shape.out_size(*image)
        length = n * height * width
        parts = [self._part(self._first, (n, *image))]
        if self._added is not None:
            if residual is None or residual[:2] != (n, self._added.in_channels):
                return None
            if self._added.shape.out_size(*residual[2:]) != (height, width):
                return None
            parts.append(self._part(self._added, (n, *residual[2:])))
        after = None if self._after is None else self._part(self._after, (n, height, width))
        for part in (*parts, *(() if after is None else (after,))):
            if not part.reading.is_whole or part.reading.runs[1] != length or length < NARROWEST:
                return None
        size, strides = images(n, self._first.rows.num_rows, height, width)
        return _Plan(tuple(parts), after, length, size, strides)

    def _part(self, layer: SparseConv2d, size: tuple[int, ...]) -> _Part:
        n, height, width = size
        found = reading(layer.shape, (n, height, width))
        blocks = blocks_of(self._library, layer.rows, layer.shape, n, found.runs)
        where = found.offsets(layer.rows, layer.shape)
        columns = layer.rows.columns.to(torch.int32) if where is None else where
        return _Part(blocked(layer.rows, blocks, offsets=columns), found)


def _fill(
    stage: CStage,
    parts: tuple[_Part, ...],
    read: list[tuple[Tensor, int]],
    out: Tensor,
    bias: Tensor | None,
    layer: SparseConv2d,
) -> None:
    for number, (part, (x, pitch)) in enumerate(zip(parts, read, strict=True)):
        index, value, starts, _, order, blocks = part.weight.addresses
        stage.parts[number] = CPart(index, value, starts, order, blocks, x.data_ptr(), pitch)
    stage.num_parts, stage.rows = len(parts), layer.rows.num_rows
    stage.y, stage.y_pitch = out.data_ptr(), out.stride(1)
    stage.bias, stage.relu = address(bias), int(layer.activation == "relu")
