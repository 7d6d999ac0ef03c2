"""The operations that a graph may hold: nothing outside these tables is ever called.

Those of PyTorch are overloads of `torch.ops.aten` by name, "aten.relu.default", with the arguments
of their schema; all are pure. Ours fuse a layer with its bias, a residual and an activation.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import torch

# fmt: off
DEFAULTS = (
    "_softmax", "abs", "adaptive_avg_pool1d", "adaptive_avg_pool2d", "adaptive_max_pool2d",
    "addcmul", "addmm", "amax", "amin", "argmax", "avg_pool1d", "avg_pool2d", "baddbmm",
    "batch_norm", "bmm", "cat", "ceil", "celu", "chunk", "clamp", "clamp_max", "clamp_min",
    "clone", "constant_pad_nd", "contiguous", "conv1d", "conv3d", "conv_transpose1d", "cos",
    "cumsum", "elu", "embedding", "erf", "exp", "expand", "expand_as", "expm1", "flip",
    "floor", "floor_divide", "full", "full_like", "gather", "gelu", "glu", "group_norm",
    "hardsigmoid", "hardswish", "hardtanh", "index_select", "layer_norm", "leaky_relu",
    "log", "log1p", "log_sigmoid", "logical_and", "logical_not", "logical_or", "matmul",
    "max_pool1d", "max_pool2d", "maximum", "minimum", "mish", "mm", "mv", "narrow", "neg",
    "ones", "ones_like", "pad", "permute", "pixel_shuffle", "pixel_unshuffle", "prelu",
    "reciprocal", "reflection_pad2d", "relu", "relu6", "repeat", "replication_pad2d",
    "reshape", "rms_norm", "roll", "round", "rsqrt", "scalar_tensor",
    "scaled_dot_product_attention", "selu", "sigmoid", "sign", "silu", "sin", "softplus",
    "split_with_sizes", "sqrt", "square", "stack", "t", "tanh", "tril", "triu", "unsqueeze",
    "zeros", "zeros_like",
)
# fmt: on
OVERLOADS: Mapping[str, tuple[str, ...]] = {
    "add": ("Scalar", "Tensor"),
    "arange": ("default", "start", "start_step"),
    "conv2d": ("padding",),
    "conv_transpose2d": ("input",),
    "conv_transpose3d": ("input",),
    "div": ("Scalar", "Tensor", "Tensor_mode"),
    "eq": ("Scalar", "Tensor"),
    "flatten": ("using_ints",),
    "ge": ("Scalar", "Tensor"),
    "gt": ("Scalar", "Tensor"),
    "le": ("Scalar", "Tensor"),
    "lerp": ("Scalar",),
    "log_softmax": ("int",),
    "lt": ("Scalar", "Tensor"),
    "masked_fill": ("Scalar", "Tensor"),
    "max": ("dim", "other"),
    "mean": ("default", "dim"),
    "min": ("dim", "other"),
    "movedim": ("int",),
    "mul": ("Scalar", "Tensor"),
    "ne": ("Scalar", "Tensor"),
    "pow": ("Scalar", "Tensor_Scalar", "Tensor_Tensor"),
    "rsub": ("Scalar",),
    "select": ("int",),
    "slice": ("Tensor",),
    "softmax": ("int",),
    "split": ("Tensor",),
    "squeeze": ("default", "dim", "dims"),
    "std": ("correction",),
    "sub": ("Scalar", "Tensor"),
    "sum": ("default", "dim_IntList"),
    "to": ("dtype",),
    "transpose": ("int",),
    "unbind": ("int",),
    "unflatten": ("int",),
    "upsample_bicubic2d": ("vec",),
    "upsample_bilinear2d": ("vec",),
    "upsample_nearest2d": ("vec",),
    "var": ("correction",),
    "where": ("self",),
}

ATEN = frozenset(
    [f"aten.{name}.default" for name in DEFAULTS]
    + [f"aten.{name}.{one}" for name, overloads in OVERLOADS.items() for one in overloads]
)

LARGEST_NUMBER = 1 << 62


def _whole(function: Callable[[int, int], int]) -> Callable[[Any, Any], int]:
    """Return arithmetic that refuses whatever is not a size: lists, texts, ever larger numbers."""

    def compute(one: Any, other: Any) -> int:
        if type(one) is not int or type(other) is not int:
            raise ValueError(f"expected two whole numbers, got {one!r:.40} and {other!r:.40}")
        result = function(one, other)
        if abs(result) > LARGEST_NUMBER:
            raise ValueError(f"{result} is no size")
        return result

    return compute


NUMBERS: Mapping[str, Callable[..., Any]] = {
    "item": operator.getitem,
    "number.add": _whole(operator.add),
    "number.floordiv": _whole(operator.floordiv),
    "number.mul": _whole(operator.mul),
    "number.sub": _whole(operator.sub),
    "size": torch.Tensor.size,
}
"""Sizes, arithmetic with them, and one of the tensors that an operation returned; two arguments."""

SPLITTING = ("aten.chunk.default", "aten.split.Tensor", "aten.unbind.int")
"""They return as many tensors as their input is long, if asked to."""

Kind = Literal["value", "residual", "weight", "rows", "tensor", "activation", "pair", "count"]

LINEAR: Mapping[str, Kind] = {
    "x": "value",
    "weight": "weight",
    "bias": "tensor",
    "residual": "residual",
    "activation": "activation",
}
CONV: Mapping[str, Kind] = {
    **LINEAR,
    "stride": "pair",
    "padding": "pair",
    "dilation": "pair",
    "groups": "count",
}
LAYERS: Mapping[str, Mapping[str, Kind]] = {
    "affine": {"x": "value", "scale": "tensor", "shift": "tensor", "activation": "activation"},
    "linear": LINEAR,
    "conv2d": CONV,
    "csr_linear": {**LINEAR, "weight": "rows"},
    "sparse_linear": {**LINEAR, "weight": "rows"},
    "sparse_conv2d": {**CONV, "weight": "rows", "kernel_size": "pair"},
}
"""Our operations, and of what kind their arguments are; all must be given; bias, residual
and activation may be None. "affine" is a factor and a summand per channel."""

ACTIVATIONS = (None, "relu")

DROPPED = ("device", "implicit", "layout", "memory_format", "pin_memory", "sparse_grad")
"""Arguments that are never given: where tensors lie is decided when the graph runs."""

FIXED: Mapping[str, Mapping[str, Any]] = {
    "aten.batch_norm.default": {"training": False},
    "aten.scaled_dot_product_attention.default": {"dropout_p": 0.0},
}
"""Arguments that may have no other value: with one, results would be those of training."""


@dataclass(frozen=True)
class Parameter:
    """An argument of an ATen operation."""

    name: str
    is_required: bool
    default: Any
    by_name: bool


def is_known(op: str) -> bool:
    """Say whether a graph may hold this operation."""
    return op in ATEN or op in NUMBERS or op in LAYERS


def aten(op: str) -> Any:
    """Return the overload of an operation in `ATEN`."""
    _, name, overload = op.split(".")
    return getattr(getattr(torch.ops.aten, name), overload)


def parameters(op: str) -> list[Parameter]:
    """Return the arguments that a graph may give to an operation in `ATEN`."""
    return [
        Parameter(one.name, not one.has_default_value(), one.default_value, one.kwarg_only)
        for one in aten(op)._schema.arguments
        if one.name not in DROPPED
    ]


def makes_tensors(op: str) -> bool:
    """Say whether an operation in `ATEN` has to be told where its result lies."""
    return any(one.name == "device" for one in aten(op)._schema.arguments)
