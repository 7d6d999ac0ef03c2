"""Which convolutions of a graph are computed together."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch

from sparsekit.inference.graph import Graph, Node, Of, references
from sparsekit.inference.operations import LAYERS

Readers = Mapping[str, list[Node | None]]


@dataclass(frozen=True, eq=False)
class Group:
    """Nodes that are computed together, `first` and others.

    `added` is the residual of `first` alone. `before` is read by `first` alone, or where `is_inner`
    by `added` alone. `after` reads what `first` returns. Two that do not belong to the group copy
    what they read: `reader` alone reads `after`, and besides `after` only `other` reads `first`.
    """

    first: Node
    added: Node | None = None
    before: Node | None = None
    is_inner: bool = False
    after: Node | None = None
    other: Node | None = None
    reader: Node | None = None

    def members(self) -> list[Node]:
        """Return the nodes that are computed."""
        return [one for one in (self.before, self.added, self.first, self.after) if one]

    def reads(self) -> tuple[Of, Of | None]:
        """Return what the sum is computed of: x, and the residual or what `added` reads."""
        given = self.first.arguments
        return given["x"], self.added.arguments["x"] if self.added else given["residual"]


def groups(graph: Graph) -> list[Group]:
    """Return which nodes can be computed together."""
    readers = _readers(graph)
    nodes = {node.name: node for node in graph.nodes if node.op == "sparse_conv2d"}
    found: list[Group] = []
    for node in graph.nodes:
        if node.name in nodes and _is_pointwise(node) and not _belongs(node, nodes, readers, graph):
            group = _around(node, nodes, readers, graph)
            if len(members := group.members()) > 1 or group.other:
                found.append(group)
                for one in members:
                    del nodes[one.name]
    return found


def _belongs(node: Node, nodes: Mapping[str, Node], readers: Readers, graph: Graph) -> bool:
    """Say whether a node will be the one that is `added` to another one."""
    reader = readers[node.name][0] if len(readers[node.name]) == 1 else None
    return (
        reader is not None
        and reader.name in nodes
        and _is_pointwise(reader)
        and reader.arguments["residual"] == Of(node.name)
        and _only_adds(node)
        and _dtype(node, graph) == _dtype(reader, graph)
    )


def _around(node: Node, nodes: Mapping[str, Node], readers: Readers, graph: Graph) -> Group:
    """Return the group of a node: others of `nodes` that belong to it."""
    like = {name: one for name, one in nodes.items() if _dtype(one, graph) == _dtype(node, graph)}
    added = _made_by(node.arguments["residual"], like)
    if added and not _belongs(added, like, readers, graph):
        added = None
    before, is_inner = None, False
    for number, one in enumerate((node, added)):
        made = one and _made_by(one.arguments["x"], like)
        if one and made and not before and readers[made.name] == [one] and _stands_alone(made):
            before, is_inner = made, bool(number)
    following = (one for one in readers[node.name] if one and one.name in like)
    after = next((one for one in following if _follows(one, node)), None)
    other = _copying([one for one in readers[node.name] if one is not after], node)
    reader = _copying(readers[after.name], after) if after else None
    return Group(node, added, before, is_inner, after, other, reader)


def _copying(readers: list[Node | None], of: Node) -> Node | None:
    """Return the only one that reads a node, if it copies what it reads."""
    reader = readers[0] if len(readers) == 1 else None
    return reader if reader and _wants_copy(reader, of) else None


def unshared(graph: Graph) -> set[str]:
    """Return the results that lie in memory of their own: no view shows them, and nobody reads
    them later than the graph says."""
    readers = _readers(graph)
    later = {group.before.arguments["x"].name for group in groups(graph) if group.before}
    return {
        node.name
        for node in graph.nodes
        if node.op == "sparse_conv2d"
        and node.name not in later
        and all(reader is not None and reader.op in LAYERS for reader in readers[node.name])
    }


def _readers(graph: Graph) -> Readers:
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


def _only_adds(node: Node) -> bool:
    """Say whether a node computes nothing but a part of the sum of another one."""
    given = node.arguments
    return _is_pointwise(node) and given["activation"] is None and given["residual"] is None


def _stands_alone(node: Node) -> bool:
    given = node.arguments
    return given["groups"] == 1 and given["residual"] is None


def _follows(node: Node, first: Node) -> bool:
    """Say whether a node needs only what `first` returns, position by position."""
    given = node.arguments
    plain = _is_pointwise(node) and tuple(given["stride"]) == (1, 1)
    return plain and given["x"] == Of(first.name) and given["residual"] is None


def _wants_copy(node: Node, of: Node) -> bool:
    """Say whether a node reads another one alone, and not where its results would lie: in a copy
    with borders, or of positions that lie steps apart."""
    given = node.arguments
    return (
        node.op == "sparse_conv2d"
        and list(node.reads()).count(of.name) == 1
        and given["x"] == Of(of.name)
        and given["groups"] == 1
        and not (_is_pointwise(node) and tuple(given["stride"]) == (1, 1))
    )


def _made_by(read: Of | None, nodes: Mapping[str, Node]) -> Node | None:
    return None if read is None else nodes.get(read.name)


def _dtype(node: Node, graph: Graph) -> torch.dtype:
    return graph.weights[node.arguments["weight"].name].values.dtype
