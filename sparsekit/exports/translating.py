"""What torch.export calls an operation, and what a graph calls it."""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping
from typing import Any

from torch._ops import OpOverload

from sparsekit.inference.graph import Of
from sparsekit.inference.operations import ATEN, DROPPED, parameters

Translated = tuple[str, dict[str, Any]]
"""The name of an operation, and its arguments by name."""

NUMBERS = {
    operator.add: "number.add",
    operator.floordiv: "number.floordiv",
    operator.mul: "number.mul",
    operator.sub: "number.sub",
}
NOTHING = (
    "aten.alias.default",
    "aten.clone.default",
    "aten.contiguous.default",
    "aten.detach.default",
    "aten.lift_fresh_copy.default",
)
"""They return what they are given; where numbers lie is up to the kernels."""

CHECKS = ("aten._assert_scalar.default", "aten._assert_tensor_metadata.default")
NORM = "aten._native_batch_norm_legit_no_training.default"


def translated(
    target: Any, arguments: list[Any], options: dict[str, Any]
) -> Translated | Of | None:
    """Return the operation of a graph for a call that torch.export recorded.

    An `Of` where the call returns what it refers to, None where it returns nothing. Operations of
    PyTorch that a graph cannot hold keep their names. ValueError for a call of anything else.
    """
    if target in NUMBERS:
        return NUMBERS[target], {"one": arguments[0], "other": arguments[1]}
    if target is operator.getitem:
        return "item", {"one": arguments[0], "other": arguments[1]}
    name = _name(target)
    if name in CHECKS:
        return None
    if name == "aten.sym_size.int":
        return "size", {"one": arguments[0], "other": arguments[1]}
    given = _by_name(target, arguments, options, name)
    if name in NOTHING or (name == "aten.dropout.default" and not given["train"]):
        return arguments[0]
    if name in REWRITTEN:
        return REWRITTEN[name](given)
    return name, _short(name, given) if name in ATEN else given


def is_norm(target: Any) -> bool:
    """Say whether a call is a BatchNorm in evaluation mode, which returns three tensors."""
    return _name(target) == NORM


def _name(target: Any) -> str:
    if isinstance(target, OpOverload):
        return str(target)
    return getattr(target, "__name__", str(target))


def _by_name(
    target: Any, arguments: list[Any], options: Mapping[str, Any], name: str
) -> dict[str, Any]:
    """Return all arguments by name, defaults written out."""
    if not isinstance(target, OpOverload):
        raise ValueError(f"the model uses {name}, which is not among the operations of a graph")
    given: dict[str, Any] = dict(options)
    for place, one in enumerate(target._schema.arguments):
        if place < len(arguments):
            given[one.name] = arguments[place]
        elif one.name not in given and one.has_default_value():
            given[one.name] = one.default_value
    return {name: value for name, value in given.items() if name not in DROPPED}


def _short(op: str, given: Mapping[str, Any]) -> dict[str, Any]:
    """Return the arguments that are not what they would be anyway."""
    known = {one.name: one for one in parameters(op)}
    return {
        name: value
        for name, value in given.items()
        if known[name].is_required or value != known[name].default
    }


def _linear(given: Mapping[str, Any]) -> Translated:
    layer = {"x": given["input"], "weight": given["weight"], "bias": given["bias"]}
    return "linear", {**layer, "residual": None, "activation": None}


def _conv2d(given: Mapping[str, Any]) -> Translated:
    pairs = {name: _pair(given[name]) for name in ("stride", "padding", "dilation")}
    _, layer = _linear(given)
    return "conv2d", {**layer, **pairs, "groups": given["groups"]}


def _pair(sizes: list[int]) -> list[int]:
    return list(sizes) * 2 if len(sizes) == 1 else list(sizes)


def _norm(given: Mapping[str, Any]) -> Translated:
    fixed = {"training": False, "cudnn_enabled": False}
    return "aten.batch_norm.default", {**given, **fixed}


def _reshape(given: Mapping[str, Any]) -> Translated:
    return "aten.reshape.default", {"self": given["self"], "shape": given["size"]}


def _to_dtype(given: Mapping[str, Any]) -> Translated:
    return "aten.to.dtype", {"self": given["self"], "dtype": given["dtype"]}


REWRITTEN: Mapping[str, Callable[[Mapping[str, Any]], Translated]] = {
    NORM: _norm,
    "aten._to_copy.default": _to_dtype,
    "aten._unsafe_view.default": _reshape,
    "aten.conv2d.default": _conv2d,
    "aten.linear.default": _linear,
    "aten.view.default": _reshape,
}
