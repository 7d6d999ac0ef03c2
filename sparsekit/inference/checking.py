"""Whether a graph may run: its sparse weights, names, operations, and all shapes."""

from __future__ import annotations

import dataclasses
from typing import Any

import torch
from torch import Tensor

from sparsekit.inference.form import LARGEST, is_count
from sparsekit.inference.graph import Graph, Node, Of, references
from sparsekit.inference.operations import (
    ACTIVATIONS,
    FIXED,
    LAYERS,
    NUMBERS,
    SPLITTING,
    is_known,
    parameters,
)
from sparsekit.inference.rows import DTYPES, NARROW, SparseRows
from sparsekit.inference.running import slots_of, step_of

MOST = 1 << 30
"""So many numbers a result may have for two examples; more is a mistake, or meant to harm."""

MOST_PIECES = 1 << 12
"""So long may be what is split into tensors."""


def check(graph: Graph) -> None:
    """Raise ValueError, naming the part, for a graph that cannot run; nothing of it is computed."""
    for name, rows in graph.weights.items():
        check_rows(rows, name)
    _check_names(graph)
    for node in graph.nodes:
        _check_node(node, graph)
    _check_shapes(graph)


def check_rows(rows: SparseRows, name: str) -> None:
    """Raise ValueError for a sparse weight that is not one."""
    for part, wanted in (("values", DTYPES), ("columns", None), ("starts", (torch.int32,))):
        tensor = getattr(rows, part)
        allowed = wanted or (torch.uint16 if rows.num_columns <= NARROW else torch.int32,)
        if tensor.ndim != 1 or tensor.dtype not in allowed:
            raise ValueError(
                f"{name}.{part} must be a vector of {' or '.join(map(str, allowed))}, got "
                f"{tensor.dtype} {list(tensor.shape)}"
            )
    starts, columns = rows.starts.long(), rows.columns.long()
    if not len(starts) or starts[0] != 0 or bool((starts.diff() < 0).any()):
        raise ValueError(f"{name}.starts must begin with 0 and never fall")
    if not starts[-1] == len(rows.values) == len(columns):
        raise ValueError(
            f"{name}: starts end at {int(starts[-1])}, but there are {len(rows.values)} values and "
            f"{len(columns)} columns"
        )
    if not 0 < rows.num_columns < LARGEST:
        raise ValueError(f"{name} must have between 1 and {LARGEST - 1} columns")
    if bool(((columns < 0) | (columns >= rows.num_columns)).any()):
        raise ValueError(f"{name}.columns must be below {rows.num_columns}")
    first = torch.zeros(len(columns) + 1, dtype=torch.bool)
    first[starts[:-1]] = True
    if bool((columns.diff() <= 0).logical_and_(~first[1:-1]).any()):
        raise ValueError(f"{name}.columns must ascend within each row")


def _check_names(graph: Graph) -> None:
    """Refuse names that mean two things, and references to what is not there before its use."""
    names = [one.name for one in graph.inputs]
    names += [*graph.tensors, *graph.weights]
    known = set(names)
    for node in graph.nodes:
        if unknown := sorted(set(node.reads()) - known):
            raise ValueError(
                f"node {node.name} refers to {', '.join(unknown)}, which is nothing before it"
            )
        names.append(node.name)
        known.add(node.name)
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise ValueError(f"the graph has several things named {', '.join(twice)}")
    if unknown := sorted(set(references(graph.outputs)) - known):
        raise ValueError(f"the outputs refer to {', '.join(unknown)}, which is nothing")


def _check_node(node: Node, graph: Graph) -> None:
    if not is_known(node.op):
        raise ValueError(f"node {node.name}: there is no operation {node.op!r}")
    required, optional = _names(node.op)
    if missing := [name for name in required if name not in node.arguments]:
        raise ValueError(f"node {node.name}: {node.op} needs {', '.join(missing)}")
    if surplus := [name for name in node.arguments if name not in {*required, *optional}]:
        raise ValueError(f"node {node.name}: {node.op} has no {', '.join(surplus)}")
    for name, value in FIXED.get(node.op, {}).items():
        if node.arguments.get(name, value) != value:
            raise ValueError(f"node {node.name}: {name} of {node.op} must be {value}")
    if node.op in LAYERS:
        for name, kind in LAYERS[node.op].items():
            if not _fits(node.arguments[name], kind, graph):
                raise ValueError(f"node {node.name}: {name} is {node.arguments[name]!r}")
    elif weights := sorted(set(node.reads()) & set(graph.weights)):
        raise ValueError(f"node {node.name}: {node.op} takes no sparse weight {weights[0]}")


def _names(op: str) -> tuple[list[str], list[str]]:
    """Return the arguments that must be given, and those that may be."""
    if op in LAYERS:
        return list(LAYERS[op]), []
    if op in NUMBERS:
        return ["one", "other"], []
    known = parameters(op)
    return [one.name for one in known if one.is_required], [one.name for one in known]


def _fits(value: Any, kind: str, graph: Graph) -> bool:
    """Say whether an argument of a layer is one."""
    if kind == "pair":
        return isinstance(value, list | tuple) and len(value) == 2 and all(map(is_count, value))
    if kind == "count":
        return is_count(value) and value > 0
    if kind == "activation":
        return value in ACTIVATIONS
    if value is None:
        return kind in ("tensor", "residual")
    if not isinstance(value, Of):
        return False
    is_rows = value.name in graph.weights
    return is_rows == (kind == "rows") and (kind != "tensor" or value.name in graph.tensors)


def _check_shapes(graph: Graph) -> None:
    """Run the graph on tensors without content, sparse layers as dense ones."""
    dense = dense_form(graph)
    slots = slots_of(dense)
    values: list[Any] = [None] * len(slots)
    for one in graph.inputs:
        sizes = [2 if size is None else size for size in one.shape]
        values[slots[one.name]] = torch.empty(sizes, dtype=one.dtype, device="meta")
    for name, tensor in dense.tensors.items():
        values[slots[name]] = tensor
    for node, op in zip(dense.nodes, (node.op for node in graph.nodes), strict=True):
        step = step_of(node, slots, None)
        if node.op in SPLITTING:
            _require_few_pieces(node, [values[source] for _, source in step.places])
        try:
            step.run(values)
            _require_layer(node, [values[source] for _, source in step.places], values[step.slot])
        except Exception as error:
            reason = str(error).splitlines()[0] if str(error) else type(error).__name__
            raise ValueError(f"node {node.name}: {op} cannot run: {reason}") from error
        if any(one.numel() > MOST for one in _tensors(values[step.slot])):
            raise ValueError(f"node {node.name}: its result would have more than {MOST} numbers")


def _require_few_pieces(node: Node, given: list[Any]) -> None:
    if any(size > MOST_PIECES for one in _tensors(given) for size in one.shape):
        raise ValueError(f"node {node.name}: {node.op} takes sizes up to {MOST_PIECES}")


def _require_layer(node: Node, given: list[Tensor], result: Tensor) -> None:
    """Refuse what a dense layer would convert or spread, and a kernel reads as it lies there."""
    if node.op not in LAYERS:
        return
    if wrong := [one.dtype for one in given if one.dtype != torch.float32]:
        raise ValueError(f"layers take torch.float32, not {wrong[0]}")
    shapes = {"residual": tuple(result.shape)}
    if "weight" in node.arguments:
        shapes["bias"] = (len(given[1]),)
    places = {"bias": 2, "residual": len(given) - 1}
    for name, shape in shapes.items():
        if node.arguments.get(name) and tuple(given[places[name]].shape) != shape:
            raise ValueError(f"{name} must be {shape}, got {tuple(given[places[name]].shape)}")


def dense_form(graph: Graph) -> Graph:
    """Return the graph with dense layers and with tensors that have shapes and types alone."""
    tensors = {name: tensor.to("meta") for name, tensor in graph.tensors.items()}
    nodes = []
    for node in graph.nodes:
        arguments = dict(node.arguments)
        if node.op in LAYERS and "rows" in LAYERS[node.op].values():
            name = arguments["weight"].name
            kernel = arguments.pop("kernel_size", ())
            tensors[name] = _weight(graph.weights[name], kernel, node.name)
        nodes.append(dataclasses.replace(node, op=_dense(node.op), arguments=arguments))
    return dataclasses.replace(graph, nodes=tuple(nodes), tensors=tensors, weights={})


def _dense(op: str) -> str:
    return op.removeprefix("sparse_").removeprefix("csr_")


def _weight(rows: SparseRows, kernel: Any, name: str) -> Tensor:
    area = kernel[0] * kernel[1] if kernel else 1
    if not area or rows.num_columns % area:
        raise ValueError(
            f"node {name}: {rows.num_columns} columns are no multiple of a kernel of {list(kernel)}"
        )
    shape = (rows.num_rows, rows.num_columns // area, *kernel)
    return torch.empty(shape, device="meta")


def _tensors(value: Any) -> list[Tensor]:
    listed = value if isinstance(value, list | tuple) else [value]
    return [one for one in listed if isinstance(one, Tensor)]
