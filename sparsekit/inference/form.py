"""Whether a record has the form of a graph, before anything is made of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

VERSION = 1
PARTS = ("values", "columns", "starts")
"""What a sparse weight NAME consists of: the tensors NAME.values, NAME.columns, NAME.starts."""

LARGEST = 1 << 31
DEPTH = 8

FIELDS: Mapping[str, type] = {
    "version": int,
    "inputs": list,
    "nodes": list,
    "outputs": object,
    "tensors": list,
    "weights": dict,
    "at_once": object,
}
INPUT: Mapping[str, type] = {"name": str, "shape": list, "dtype": str}
NODE: Mapping[str, type] = {"name": str, "op": str, "arguments": dict}


def check_form(record: Any, tensors: Mapping[str, Tensor]) -> None:
    """Raise ValueError for a record that has not the form of one, or lacks tensors."""
    _require(record, FIELDS, "the graph")
    if record["version"] != VERSION:
        raise ValueError(f"the graph has version {record['version']!r}; this reads {VERSION}")
    _check_inputs(record["inputs"])
    at_once = record["at_once"]
    if at_once is not None and not (is_count(at_once) and at_once):
        raise ValueError(f"at_once of the graph must be a number of examples, got {at_once!r}")
    for number, one in enumerate(record["nodes"]):
        _require(one, NODE, f"node {number}")
        _check_plain(one["arguments"], f"node {one['name']}")
    _check_plain(record["outputs"], "the outputs")
    names = [name for name in record["tensors"] if isinstance(name, str)]
    if len(names) != len(record["tensors"]):
        raise ValueError("the graph's tensors must be names")
    for name, columns in record["weights"].items():
        if not is_count(columns):
            raise ValueError(f"weight {name} must have a number of columns, got {columns!r}")
        names += [f"{name}.{part}" for part in PARTS]
    if missing := sorted(set(names) - set(tensors)):
        raise ValueError(f"the graph needs the tensors {', '.join(missing)}, which are not there")


def _check_inputs(inputs: list[Any]) -> None:
    if not inputs:
        raise ValueError("the graph has no inputs")
    for number, one in enumerate(inputs):
        _require(one, INPUT, f"input {number}")
        if not isinstance(getattr(torch, one["dtype"], None), torch.dtype):
            raise ValueError(f"input {one['name']} has the unknown type {one['dtype']!r}")
        if not all(size is None or is_count(size) for size in one["shape"]):
            raise ValueError(f"input {one['name']} has the shape {one['shape']}")


def is_count(value: Any) -> bool:
    """Say whether a value is a whole number that a size can be."""
    return type(value) is int and 0 <= value < LARGEST


def _require(record: Any, fields: Mapping[str, type], what: str) -> None:
    if not isinstance(record, Mapping) or set(record) != set(fields):
        has = list(record) if isinstance(record, Mapping) else type(record).__name__
        raise ValueError(f"{what} must have exactly {', '.join(fields)}; it has {has}")
    for name, kind in fields.items():
        if not isinstance(record[name], kind):
            raise ValueError(f"{name} of {what} must be a {kind.__name__}, got {record[name]!r}")


def _check_plain(value: Any, what: str, depth: int = 0) -> None:
    """Refuse what `_referring` cannot read."""
    if depth > DEPTH:
        raise ValueError(f"{what} is nested too deeply")
    if isinstance(value, list):
        for one in value:
            _check_plain(one, what, depth + 1)
    elif isinstance(value, Mapping):
        _check_tagged(value, what, depth)
    elif not (value is None or isinstance(value, bool | int | float | str)):
        raise ValueError(f"{what} holds {value!r}, which is not plain data")


def _check_tagged(value: Mapping[str, Any], what: str, depth: int) -> None:
    kind, content = next(iter(value.items()), (None, None))
    if len(value) == 1 and kind == "dict" and isinstance(content, Mapping):
        for one in content.values():
            _check_plain(one, what, depth + 1)
        return
    fits = len(value) == 1 and isinstance(content, str)
    fits = fits and (
        kind == "of"
        or (kind == "float" and content in ("inf", "-inf", "nan"))
        or (kind == "dtype" and isinstance(getattr(torch, str(content), None), torch.dtype))
    )
    if not fits:
        raise ValueError(f"{what} holds {dict(value)!r}, which is neither a reference nor a value")
