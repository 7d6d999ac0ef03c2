"""Fewer passes over activations: normalisation into weights, residuals and ReLU into layers.

A mask says what is kept, before and after: folding scales rows and removes nothing.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor

from sparsekit.exports.capture import Captured, Shape
from sparsekit.inference.graph import Graph, Node, Of, references

NORM = "aten.batch_norm.default"
PADDED = "aten.conv2d.padding"
FUSED = ("linear", "conv2d")


@torch.no_grad()
def folded(captured: Captured) -> Captured:
    """Return a captured network that computes the same in fewer nodes.

    Paddings "same" and "valid" become numbers. BatchNorm goes into the layer before it if nothing
    else reads that layer, in float64; else it becomes a factor and a summand per channel. Then
    residuals and ReLU go into the layers whose results they alone read.
    """
    work = _Work(captured)
    steps = {
        PADDED: work.number_padding,
        NORM: work.fold_norm,
        "aten.add.Tensor": work.fuse_residual,
        "aten.relu.default": work.fuse_relu,
    }
    for op, step in steps.items():
        for name in [node.name for node in captured.graph.nodes if node.op == op]:
            step(work.nodes[name])
    return work.result()


class _Work:
    """A graph under change: `nodes` in the order in which they run."""

    def __init__(self, captured: Captured) -> None:
        self.captured = captured
        self.nodes = {node.name: node for node in captured.graph.nodes}
        self.tensors = dict(captured.graph.tensors)
        self.masks = dict(captured.masks)
        self.shapes: Mapping[str, Shape] = captured.shapes
        self.outputs = captured.graph.outputs

    def result(self) -> Captured:
        """Return the network with what is still read of nodes and tensors."""
        read = set(references(self.outputs))
        nodes: list[Node] = []
        for node in reversed(list(self.nodes.values())):
            if node.name in read:
                nodes.insert(0, node)
                read |= set(node.reads())
        tensors = {name: tensor for name, tensor in self.tensors.items() if name in read}
        masks = {name: mask for name, mask in self.masks.items() if name in tensors}
        inputs = self.captured.graph.inputs
        graph = Graph(inputs, tuple(nodes), self.outputs, tensors)
        return Captured(graph, masks, self.shapes)

    def number_padding(self, node: Node) -> None:
        """Make a convolution padded by a word one with numbers, if both sides get the same."""
        given = node.arguments
        if not self._is_tensor(given["weight"]):
            return
        dilation = _pair(given.get("dilation", [1]))
        kernel = self.tensors[given["weight"].name].shape[2:]
        added = [d * (k - 1) for d, k in zip(dilation, kernel, strict=True)]
        if given.get("padding", "valid") == "valid":
            added = [0, 0]
        if any(one % 2 for one in added):
            return
        layer = {"x": given["input"], "weight": given["weight"], "bias": given.get("bias")}
        shape = {"stride": _pair(given.get("stride", [1])), "padding": [one // 2 for one in added]}
        rest = {"dilation": dilation, "groups": given.get("groups", 1)}
        arguments = {**layer, "residual": None, "activation": None, **shape, **rest}
        self.nodes[node.name] = Node(node.name, "conv2d", arguments)

    def fold_norm(self, norm: Node) -> None:
        """Take a BatchNorm into the layer before it, or make it a factor and a summand."""
        given = norm.arguments
        if not all(self._is_tensor(given[name]) for name in ("running_mean", "running_var")):
            return
        scale, shift = _affine(given, self.tensors)
        layer = self._sole_layer(given["input"])
        if layer is None or not self._is_by_row(layer, len(scale)):
            self._multiply(norm, scale, shift)
            return
        weight, bias = layer.arguments["weight"].name, layer.arguments["bias"]
        rows = scale.view(-1, *[1] * (self.tensors[weight].ndim - 1))
        before = self.tensors[bias.name].double() if bias else torch.zeros_like(scale)
        name = bias.name if bias else f"{layer.name}.bias"
        changed = {
            "weight": self._changed(weight, self.tensors[weight].double() * rows),
            "bias": self._changed(name, before * scale + shift),
        }
        arguments = {**layer.arguments, **changed}
        self.nodes[layer.name] = dataclasses.replace(layer, arguments=arguments)
        del self.nodes[norm.name]
        self._rename(norm.name, layer.name)

    def fuse_residual(self, add: Node) -> None:
        """Have a layer add what its result alone is added to, of the same shape."""
        pair = [add.arguments["self"], add.arguments["other"]]
        if add.arguments.get("alpha", 1) != 1 or not all(isinstance(one, Of) for one in pair):
            return
        if not self.shapes.get(pair[0].name) == self.shapes.get(pair[1].name) is not None:
            return
        # The later layer: what it adds is there already, and is read while it is in the cache.
        order = list(self.nodes)
        found = [(self._sole_layer(one), other) for one, other in (pair, pair[::-1])]
        free = [(layer, other) for layer, other in found if layer and _is_bare(layer)]
        if pair[0] == pair[1] or not free:
            return
        layer, other = max(free, key=lambda one: order.index(one[0].name))
        fused = dataclasses.replace(layer, arguments={**layer.arguments, "residual": other})
        self._move(fused, add.name)

    def fuse_relu(self, relu: Node) -> None:
        """Have a layer apply the ReLU that alone reads its result."""
        layer = self._sole_layer(relu.arguments["self"], (*FUSED, "affine"))
        if layer is None or layer.arguments["activation"] is not None:
            return
        fused = dataclasses.replace(layer, arguments={**layer.arguments, "activation": "relu"})
        self._move(fused, relu.name)

    def _multiply(self, norm: Node, scale: Tensor, shift: Tensor) -> None:
        dims = [1] * (len(self.shapes[norm.name]) - 2)
        given = {
            name: self._changed(f"{norm.name}.{name}", tensor.view(-1, *dims))
            for name, tensor in (("scale", scale), ("shift", shift))
        }
        arguments = {"x": norm.arguments["input"], **given, "activation": None}
        self.nodes[norm.name] = Node(norm.name, "affine", arguments)

    def _is_tensor(self, value: Any) -> bool:
        return isinstance(value, Of) and value.name in self.tensors

    def _sole_layer(self, value: Any, ops: tuple[str, ...] = FUSED) -> Node | None:
        """Return the layer that a value is the result of, if it is read once and not returned."""
        node = self.nodes.get(value.name) if isinstance(value, Of) else None
        if node is None or node.op not in ops or self._num_readers(node.name) != 1:
            return None
        return node

    def _num_readers(self, name: str) -> int:
        return sum(read == name for read in self._reads())

    def _reads(self) -> Iterator[str]:
        for node in self.nodes.values():
            yield from node.reads()
        yield from references(self.outputs)

    def _is_by_row(self, layer: Node, num_channels: int) -> bool:
        """Say whether dimension 1 of the result is what the rows of the weight make."""
        if not self._is_tensor(layer.arguments["weight"]) or not _is_bare(layer):
            return False
        bias = layer.arguments["bias"]
        known = bias is None or self._is_tensor(bias)
        is_matrix = layer.op == "conv2d" or len(self.shapes[layer.name]) == 2
        weight = self.tensors[layer.arguments["weight"].name]
        return known and is_matrix and len(weight) == num_channels

    def _changed(self, name: str, tensor: Tensor) -> Of:
        """Store a tensor in the place of one that was changed; beside it if others read that."""
        first, number = name, 2
        while self._num_readers(name) > 1 or name in self.nodes:
            name, number = f"{first}_{number}", number + 1
        if first in self.masks:
            self.masks[name] = self.masks[first]
        self.tensors[name] = tensor.float()
        return Of(name)

    def _move(self, layer: Node, place: str) -> None:
        """Put a layer where a node was whose result is now its own."""
        others = {name: node for name, node in self.nodes.items() if name != layer.name}
        self.nodes = {}
        for name, node in others.items():
            moved = layer if name == place else node
            self.nodes[moved.name] = moved
        self._rename(place, layer.name)

    def _rename(self, old: str, new: str) -> None:
        """Let all that read one result read another."""
        for node in list(self.nodes.values()):
            if old in node.reads():
                arguments = _renamed(dict(node.arguments), old, new)
                self.nodes[node.name] = dataclasses.replace(node, arguments=arguments)
        self.outputs = _renamed(self.outputs, old, new)


def _pair(sizes: list[int]) -> list[int]:
    return [sizes[0], sizes[-1]]


def _is_bare(layer: Node) -> bool:
    return layer.arguments["residual"] is None and layer.arguments["activation"] is None


def _affine(given: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
    """Return what a BatchNorm multiplies by, and what it adds: float64 [channels]."""
    mean = tensors[given["running_mean"].name].double()
    scale = (tensors[given["running_var"].name].double() + given["eps"]).rsqrt()
    if given.get("weight"):
        scale = scale * tensors[given["weight"].name].double()
    shift = -mean * scale
    if given.get("bias"):
        shift = shift + tensors[given["bias"].name].double()
    return scale, shift


def _renamed(value: Any, old: str, new: str) -> Any:
    if isinstance(value, Of):
        return Of(new) if value.name == old else value
    if isinstance(value, Mapping):
        return {name: _renamed(one, old, new) for name, one in value.items()}
    return [_renamed(one, old, new) for one in value] if isinstance(value, list) else value
