"""Following the channels of a network from layer to layer."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Collection, Mapping

import torch
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd

from sparsekit.core.folding import after_depthwise, after_layer, after_norm
from sparsekit.networks.channel_rules import rule_of, sizes_of
from sparsekit.networks.channels import Channels, Layer, Value, can_be_folded, sibling
from sparsekit.networks.trace import Call, Trace

LAYERS = frozenset(["linear", "conv1d", "conv2d", "conv3d"])


def channels_of(
    trace: Trace, tensors: Mapping[str, Tensor], created: Collection[str] = ()
) -> Channels:
    """Follow the channels through a trace; the structure depends on the trace alone.

    `tensors`: weights, biases and statistics in float64 by name, pruned weights at 0.
    """
    found = Channels(trace, tensors, created)
    found.opaque.update(dict.fromkeys(trace.shared, "is shared by several modules"))
    for tensor in (*(one for call in trace.calls for one in call.tensors()), *trace.outputs):
        found.readers[id(tensor)] = found.readers.get(id(tensor), 0) + 1
    for call in trace.calls:
        value = _followed(found, call)
        if value is None:
            _give_up(found, call)
        else:
            found.values[id(call.result)] = value
        for tensor in call.results():
            found.storages.setdefault(tensor.untyped_storage().data_ptr(), tensor)
    for tensor in trace.outputs:
        _pin(found, tensor, "the outputs of the network")
    for (name, _), (space, _) in found.owners.items():
        if name in found.opaque:
            space.pin(found.opaque[name])
    return found


def _followed(found: Channels, call: Call) -> Value | None:
    """Return what is known of the result of a call; None where it is not understood."""
    if not isinstance(call.result, Tensor) or (call.in_place and _changes_another(found, call)):
        return None
    if call.name in LAYERS:
        return _layer(found, call)
    value = found.values.get(id(call.args[0])) if call.args else None
    if value is None:
        return None
    if any(one is not call.args[0] for one in call.tensors()):
        return _norm(found, call, value) if call.name == "batch_norm" else _pair(found, call)
    rule = rule_of(call.name)
    return None if rule is None else rule(call, value)


def _changes_another(found: Channels, call: Call) -> bool:
    """Say whether a call in place changes a tensor that is known under another view."""
    first = found.storages.get(call.args[0].untyped_storage().data_ptr())
    return first is not None and first is not call.args[0]


def _give_up(found: Channels, call: Call) -> None:
    reason = f"{call.name} is not followed"
    for tensor in (*call.tensors(), *call.results()):
        _pin(found, tensor, reason)
        name = found.trace.name(tensor)
        if name is not None:
            found.opaque.setdefault(name, reason)
    for tensor in call.results():
        found.values.pop(id(tensor), None)
    if call.in_place or call.name == "setitem":
        found.opaque.update(dict.fromkeys(found.trace.names.values(), reason + ", in place"))


def _pin(found: Channels, tensor: Tensor, reason: str) -> None:
    value = found.values.get(id(tensor))
    if value is not None:
        value.space.pin(reason)


def _layer(found: Channels, call: Call) -> Value | None:
    given, weight, bias = (
        call.argument(position, name) for position, name in enumerate(("input", "weight", "bias"))
    )
    name = found.trace.name(weight)
    if name is None:
        return None
    groups = _groups(found.trace.model, name, weight, bias)
    if groups is None:
        return None
    dim = given.ndim - 1 if call.name == "linear" else given.ndim - (weight.ndim - 1)
    read = _read(found, given, dim, weight.shape[1] * groups)
    found.uses[name] = found.uses.get(name, 0) + 1
    exact = call.name == "linear" or _sees_every_tap(call)
    follow = _mixed if groups == 1 else _depthwise
    beside = sibling(name, "bias")
    has_bias = bias is not None or beside in found.created
    made = follow(found, name, beside if has_bias else None, read, exact)
    found.layers.append(Layer(name, read, made, exact, mixes=groups == 1))
    return made


def _mixed(found: Channels, name: str, bias: str | None, read: Value, exact: bool) -> Value:
    """Return what a layer makes that reads every channel for each of its own."""
    space = found.new(len(found.tensors[name]))
    found.own(name, 1, read.space, read.repeat)
    found.own(name, 0, space)
    if bias is not None:
        found.own(bias, 0, space)
    constants = after_layer(
        found.tensors[name],
        None if bias is None else found.tensors[bias],
        read.constants,
        can_be_folded(read.constants, exact),
        read.repeat,
    )
    return Value(space, read.dim, constants)


def _depthwise(found: Channels, name: str, bias: str | None, read: Value, exact: bool) -> Value:
    """Return what a depthwise convolution makes: of each channel one, which goes with it."""
    found.own(name, 0, read.space)
    if bias is not None:
        found.own(bias, 0, read.space)
    constants = after_depthwise(
        found.tensors[name],
        None if bias is None else found.tensors[bias],
        read.constants,
        can_be_folded(read.constants, exact),
    )
    return dataclasses.replace(read, constants=constants)


def _groups(model: nn.Module, name: str, weight: Tensor, bias: Tensor | None) -> int | None:
    """Return the groups of a layer that is followed; None for any other.

    It is PyTorch's own, called with its own weight and bias, and not grouped or depthwise, with one
    output for each input.
    """
    prefix, _, leaf = name.rpartition(".")
    module = model.get_submodule(prefix)
    if not isinstance(module, nn.Linear | _ConvNd) or leaf != "weight" or module.bias is not bias:
        return None
    groups = module.groups if isinstance(module, _ConvNd) else 1
    return groups if groups == 1 or len(weight) == groups == module.in_channels else None


def _read(found: Channels, given: Tensor, dim: int, width: int) -> Value:
    value = found.values.get(id(given))
    if value is not None and value.dim == dim and value.space.size * value.repeat == width:
        return value
    if value is not None:
        value.space.pin("its layout changes in front of a layer")
    unknown = torch.full((width,), math.nan, dtype=torch.float64)
    return Value(found.new(width, "made by what is not followed"), dim, unknown)


def _sees_every_tap(call: Call) -> bool:
    return all(size in (0, "valid") for size in sizes_of(call.argument(4, "padding", 0)))


def _norm(found: Channels, call: Call, value: Value) -> Value | None:
    given = [call.argument(1, "running_mean"), call.argument(2, "running_var")]
    given += [call.argument(3, "weight"), call.argument(4, "bias")]
    names = [found.trace.name(tensor) for tensor in given]
    known = all(name is not None or one is None for name, one in zip(names, given, strict=True))
    if value.dim != 1 or value.repeat != 1 or None in names[:2] or not known:
        return None
    if call.argument(5, "training", False):
        return None
    for name in filter(None, names):
        found.own(name, 0, value.space)
    mean, variance = (found.tensors[str(name)] for name in names[:2])
    weight, bias = (found.tensors[name] if name else None for name in names[2:])
    mean_name = str(names[0])
    found.uses[mean_name] = found.uses.get(mean_name, 0) + 1
    if found.readers.get(id(call.args[0])) == 1:
        found.norms[id(value)] = mean_name
    eps = call.argument(7, "eps", 1e-5)
    constants = after_norm(value.constants, mean, variance, weight, bias, eps)
    return dataclasses.replace(value, constants=constants)


def _pair(found: Channels, call: Call) -> Value | None:
    """Follow the sum or product of two tensors with the same channels."""
    if call.name not in ("add", "sub", "mul") or call.kwargs or len(call.args) != 2:
        return None
    pair = [found.values.get(id(tensor)) for tensor in call.args]
    one, other = pair
    if one is None or other is None or call.args[0].ndim != call.args[1].ndim:
        return None
    if (one.dim, one.repeat, one.space.size) != (other.dim, other.repeat, other.space.size):
        return None
    one.space.join(other.space)
    constants = getattr(torch, call.name)(one.constants, other.constants)
    if call.name == "mul":
        constants = constants.masked_fill((one.constants == 0) | (other.constants == 0), 0.0)
    return dataclasses.replace(one, constants=constants)
