"""What does not depend on the inputs is computed once, when a network is captured."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from sparsekit.exports.capture import Captured
from sparsekit.inference.graph import Graph, Node, Of
from sparsekit.inference.operations import LAYERS, NUMBERS, is_known

MOVING = frozenset(
    f"aten.{name}"
    for name in (
        "chunk.default",
        "flatten.using_ints",
        "narrow.default",
        "permute.default",
        "reshape.default",
        "select.int",
        "slice.Tensor",
        "split.Tensor",
        "split_with_sizes.default",
        "squeeze.dim",
        "t.default",
        "transpose.int",
        "unbind.int",
        "unflatten.int",
        "unsqueeze.default",
    )
) | {"item"}
"""Operations that only move numbers: a mask moves with its weight."""

SPREADING = ("aten.expand.default", "aten.expand_as.default", "aten.repeat.default")
"""What they return is larger than what it is made of, and stays to be made."""


@torch.no_grad()
def computed(captured: Captured) -> Captured:
    """Return a captured network whose nodes all depend on the inputs, if only on their size.

    ValueError, with the name, for an operation among them that a graph cannot hold.
    """
    graph = captured.graph
    known: dict[str, Any] = dict(graph.tensors)
    masks: dict[str, Any] = dict(captured.masks)
    left: list[Node] = []
    for node in graph.nodes:
        if not _is_constant(node, known):
            if not is_known(node.op):
                raise ValueError(
                    f"the model uses {node.op}, which is not among the operations of a graph"
                )
            left.append(node)
            continue
        known[node.name] = _result(node, known)
        if node.op in MOVING and any(name in masks for name in node.reads()):
            masks[node.name] = _result(node, masks)
    graph = dataclasses.replace(graph, nodes=tuple(left))
    return dataclasses.replace(captured, graph=_with(graph, known), masks=_masks(masks, known))


def _is_constant(node: Node, known: Mapping[str, Any]) -> bool:
    if node.op in LAYERS or node.op in SPREADING or not all(one in known for one in node.reads()):
        return False
    return node.op in NUMBERS or torch.Tag.nondeterministic_seeded not in _overload(node.op).tags


def _result(node: Node, known: Mapping[str, Any]) -> Any:
    given = _filled(dict(node.arguments), known)
    if node.op in NUMBERS:
        return NUMBERS[node.op](given["one"], given["other"])
    return _overload(node.op)(**given)


def _overload(op: str) -> Any:
    room, name, overload = op.split(".")
    return getattr(getattr(getattr(torch.ops, room), name), overload)


def _with(graph: Graph, known: Mapping[str, Any]) -> Graph:
    """Return the graph with the tensors that are read; numbers take the place of references."""
    names = graph.read()
    read = {name: value for name, value in known.items() if name in names}
    tensors = {
        name: value.detach().contiguous() for name, value in read.items() if _is_tensor(value)
    }
    numbers = {name: value for name, value in read.items() if not _is_tensor(value)}
    nodes = tuple(
        dataclasses.replace(node, arguments=_filled(node.arguments, numbers))
        for node in graph.nodes
    )
    return dataclasses.replace(graph, nodes=nodes, tensors=tensors)


def _masks(masks: Mapping[str, Any], known: Mapping[str, Any]) -> dict[str, Tensor]:
    return {name: mask.contiguous() for name, mask in masks.items() if _is_tensor(known[name])}


def _is_tensor(value: Any) -> bool:
    return isinstance(value, Tensor)


def _filled(value: Any, numbers: Mapping[str, Any]) -> Any:
    if isinstance(value, Of) and value.name in numbers:
        return numbers[value.name]
    if isinstance(value, Mapping):
        return {name: _filled(one, numbers) for name, one in value.items()}
    return [_filled(one, numbers) for one in value] if isinstance(value, list) else value
