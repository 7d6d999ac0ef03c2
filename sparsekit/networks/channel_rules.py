"""What functions of one tensor do to its channels; None where they do something else to them."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from sparsekit.networks.channels import Value
from sparsekit.networks.trace import Call

SAME_EVERYWHERE = frozenset(
    [
        "relu",
        "relu6",
        "gelu",
        "silu",
        "mish",
        "sigmoid",
        "tanh",
        "elu",
        "celu",
        "selu",
        "leaky_relu",
        "hardtanh",
        "hardswish",
        "hardsigmoid",
        "softplus",
        "softsign",
        "logsigmoid",
        "abs",
        "neg",
        "exp",
        "square",
        "sqrt",
        "clamp",
        "clone",
        "contiguous",
        "detach",
        "mul",
        "add",
        "sub",
        "rsub",
        "div",
    ]
)
RANDOM = frozenset(
    ["dropout", "dropout1d", "dropout2d", "dropout3d", "alpha_dropout", "feature_alpha_dropout"]
)
POOLS = frozenset(
    [
        "max_pool1d",
        "max_pool2d",
        "max_pool3d",
        "adaptive_max_pool1d",
        "adaptive_max_pool2d",
        "adaptive_max_pool3d",
        "adaptive_avg_pool1d",
        "adaptive_avg_pool2d",
        "adaptive_avg_pool3d",
    ]
)
AVERAGES = frozenset(["avg_pool1d", "avg_pool2d", "avg_pool3d"])
REDUCTIONS = frozenset(["mean", "amax", "amin"])


def rule_of(name: str) -> Rule | None:
    """Return what is known of a function by its name."""
    return next((rule for names, rule in RULES if name in names), None)


def sizes_of(given: Any) -> Sequence[Any]:
    """Return sizes that may be given as one number for all dimensions."""
    return given if isinstance(given, tuple | list) else (given,)


def _pointwise(call: Call, value: Value) -> Value:
    named = {name: one for name, one in call.kwargs.items() if name != "inplace"}
    constants = call.function(value.constants.clone(), *call.args[1:], **named)
    return dataclasses.replace(value, constants=constants)


def _dropped(call: Call, value: Value) -> Value | None:
    return None if call.argument(2, "training", True) else value


def _pooled(call: Call, value: Value) -> Value | None:
    return value if value.dim == 1 and value.repeat == 1 else None


def _averaged(call: Call, value: Value) -> Value | None:
    """Keep a constant unless zeros of the padding may be averaged in."""
    if value.dim != 1 or value.repeat != 1:
        return None
    if any(sizes_of(call.argument(3, "padding", 0))) or call.argument(4, "ceil_mode", False):
        constants = value.constants.where(value.constants == 0, torch.nan)
        return dataclasses.replace(value, constants=constants)
    return value


def _reduced(call: Call, value: Value) -> Value | None:
    given = call.argument(1, "dim")
    if given is None or isinstance(given, Tensor):
        return None
    ndim = call.args[0].ndim
    dims = {one % ndim for one in sizes_of(given)}
    if value.dim in dims or value.repeat != 1 or call.kwargs.get("dtype") is not None:
        return None
    before = sum(one < value.dim for one in dims)
    kept = call.argument(2, "keepdim", False)
    return value if kept else dataclasses.replace(value, dim=value.dim - before)


def _flattened(call: Call, value: Value) -> Value | None:
    """Follow [N, C, ...] -> [N, C * positions], written as flatten, view or reshape with a -1."""
    before, after = call.args[0].shape, call.result.shape
    if call.name != "flatten" and not _ends_open(call):
        return None
    if value.dim != 1 or after != (before[0], math.prod(before[1:])):
        return None
    return dataclasses.replace(value, repeat=value.repeat * math.prod(before[2:]))


def _ends_open(call: Call) -> bool:
    """Say whether the last size is left open: a number would be wrong once channels are gone."""
    last = call.args[-1]
    given = last[-1] if isinstance(last, tuple | list) and last else last
    return isinstance(given, int) and given == -1


def _padded(call: Call, value: Value) -> Value | None:
    """Keep a constant that borders repeat, or that is what is padded with."""
    ndim = call.args[0].ndim
    sizes = call.argument(1, "pad")
    if not all(isinstance(size, int) for size in sizes) or value.repeat != 1:
        return None
    if len(sizes) // 2 >= ndim - value.dim:
        return None
    if call.argument(2, "mode", "constant") != "constant":
        return value
    filled = call.argument(3, "value") or 0.0
    constants = value.constants.where(value.constants == filled, torch.nan)
    return dataclasses.replace(value, constants=constants)


Rule = Callable[[Call, Value], Value | None]
RULES: tuple[tuple[frozenset[str], Rule], ...] = (
    (SAME_EVERYWHERE, _pointwise),
    (RANDOM, _dropped),
    (POOLS, _pooled),
    (AVERAGES, _averaged),
    (REDUCTIONS, _reduced),
    (frozenset(("flatten", "view", "reshape")), _flattened),
    (frozenset(("pad",)), _padded),
)
