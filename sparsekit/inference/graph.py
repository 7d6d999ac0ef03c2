"""A network as plain data: which operations run in which order on which tensors."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from sparsekit.inference.form import PARTS, VERSION, check_form
from sparsekit.inference.rows import SparseRows


@dataclass(frozen=True)
class Of:
    """What an argument refers to: an input, a tensor, a sparse weight, or what a node returned."""

    name: str


@dataclass(frozen=True)
class Input:
    """An input by its shape and type; None is a size that may vary, that of the batch."""

    name: str
    shape: tuple[int | None, ...]
    dtype: torch.dtype


@dataclass(frozen=True)
class Node:
    """One operation (see `operations`) with its arguments by name: plain data and references."""

    name: str
    op: str
    arguments: Mapping[str, Any]

    def reads(self) -> Iterator[str]:
        """Yield the names of all that the node refers to."""
        return references(self.arguments)


@dataclass(frozen=True, eq=False)
class Graph:
    """A network: nodes in the order in which they run.

    Inputs are given by position. `outputs`: a reference, or lists and dicts of them. `tensors` are
    dense parameters and constants; `weights` are sparse. One name means one thing throughout.
    `at_once`: so many examples run at a time, what is more in turns; None is all of them.
    """

    inputs: tuple[Input, ...]
    nodes: tuple[Node, ...]
    outputs: Any
    tensors: Mapping[str, Tensor] = field(default_factory=dict)
    weights: Mapping[str, SparseRows] = field(default_factory=dict)
    at_once: int | None = None

    def read(self) -> set[str]:
        """Return the names of all that nodes and outputs refer to."""
        return {*references(self.outputs), *(name for node in self.nodes for name in node.reads())}

    def record(self) -> tuple[dict[str, Any], dict[str, Tensor]]:
        """Return the graph as data for a JSON file, and all tensors by name.

        A sparse weight NAME is NAME.values, NAME.columns and NAME.starts.
        """
        record = {
            "version": VERSION,
            "inputs": [
                {"name": one.name, "shape": list(one.shape), "dtype": dtype_name(one.dtype)}
                for one in self.inputs
            ],
            "nodes": [
                {"name": node.name, "op": node.op, "arguments": _plain(dict(node.arguments))}
                for node in self.nodes
            ],
            "outputs": _plain(self.outputs),
            "tensors": list(self.tensors),
            "weights": {name: rows.num_columns for name, rows in self.weights.items()},
            "at_once": self.at_once,
        }
        tensors = {name: tensor.detach() for name, tensor in self.tensors.items()}
        for name, rows in self.weights.items():
            tensors |= {f"{name}.{part}": getattr(rows, part) for part in PARTS}
        return record, tensors

    @classmethod
    def from_record(cls, record: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> Graph:
        """Return the graph that `record` returned; nothing of it has run.

        ValueError, naming what is wrong, for anything else: whoever wrote a file may mean harm.
        """
        from sparsekit.inference.checking import check

        check_form(record, tensors)
        inputs = tuple(
            Input(one["name"], tuple(one["shape"]), getattr(torch, one["dtype"]))
            for one in record["inputs"]
        )
        nodes = tuple(
            Node(one["name"], one["op"], _referring(one["arguments"])) for one in record["nodes"]
        )
        weights = {
            name: SparseRows(
                **{part: tensors[f"{name}.{part}"] for part in PARTS}, num_columns=columns
            )
            for name, columns in record["weights"].items()
        }
        dense = {name: tensors[name] for name in record["tensors"]}
        outputs = _referring(record["outputs"])
        graph = cls(inputs, nodes, outputs, dense, weights, record["at_once"])
        check(graph)
        return graph


def references(value: Any) -> Iterator[str]:
    """Yield the names of all references in lists and dicts."""
    if isinstance(value, Of):
        yield value.name
    elif isinstance(value, Mapping):
        for one in value.values():
            yield from references(one)
    elif isinstance(value, list | tuple):
        for one in value:
            yield from references(one)


def dtype_name(dtype: torch.dtype) -> str:
    """Return the name of a type.

    >>> dtype_name(torch.int64)
    'int64'
    """
    return str(dtype).removeprefix("torch.")


def _plain(value: Any) -> Any:
    """Write references as {"of": name}, types by name, and what JSON has no number for as text."""
    if isinstance(value, Of):
        return {"of": value.name}
    if isinstance(value, torch.dtype):
        return {"dtype": dtype_name(value)}
    if isinstance(value, float) and not math.isfinite(value):
        return {"float": str(value)}
    if isinstance(value, Mapping):
        return {"dict": {name: _plain(one) for name, one in value.items()}}
    if isinstance(value, list | tuple):
        return [_plain(one) for one in value]
    return value


def _referring(value: Any) -> Any:
    """Return what `_plain` was given."""
    if isinstance(value, list):
        return [_referring(one) for one in value]
    if not isinstance(value, Mapping):
        return value
    ((kind, content),) = value.items()
    if kind == "of":
        return Of(content)
    if kind == "dtype":
        return getattr(torch, content)
    if kind == "float":
        return float(content)
    return {name: _referring(one) for name, one in content.items()}
