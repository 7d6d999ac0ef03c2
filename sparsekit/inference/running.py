"""Running a graph: a list of calls that is made once, each intermediate freed after its last use.

Around every operation there is little more than its call: small networks spend their time there.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from sparsekit.inference.dense import DENSE, CsrLinear
from sparsekit.inference.graph import Graph, Node, Of, references
from sparsekit.inference.grouping import Group, unshared
from sparsekit.inference.joining import Joined, joined
from sparsekit.inference.layers import SparseConv2d, SparseLinear
from sparsekit.inference.layouts import as_kernels_want
from sparsekit.inference.operations import (
    ATEN,
    LAYERS,
    NUMBERS,
    aten,
    makes_tensors,
    parameters,
)
from sparsekit.inference.pooling import adaptive_avg_pool2d, max_pool2d
from sparsekit.inference.stems import PooledStem, Stem, pooled_stems, stems
from sparsekit.inference.steps import Step, free_, overwrite_

FASTER: Mapping[str, Callable[..., Any]] = {
    "aten.adaptive_avg_pool2d.default": adaptive_avg_pool2d,
    "aten.max_pool2d.default": max_pool2d,
    "aten.flatten.using_ints": torch.flatten,
    "aten.relu.default": torch.relu,
}
"""Functions with the arguments and results of operators, which are slower or slower to call."""

MakeLayer = Callable[[Node, Graph], nn.Module | None]


class SparseNetwork(nn.Module):
    """A graph as a module; outputs have the form of the network it was made of.

    `layers` holds its sparse layers in the order in which they run; they are made by `make_layer`,
    which may make others of the same values.
    """

    def __init__(self, graph: Graph, make_layer: MakeLayer | None = None) -> None:
        super().__init__()
        self.graph = graph
        slots = self._slots = slots_of(graph)
        # By number: names in a graph may be anything, those of members may not.
        self._dense: list[tuple[int, str]] = []
        for name, tensor in as_kernels_want(graph).items():
            member = f"tensor_{len(self._dense)}"
            self.register_buffer(member, tensor)
            self._dense.append((slots[name], member))
        make = make_layer or layer_of
        layers = [make(node, graph) for node in graph.nodes]
        self.layers = nn.ModuleList(layer for layer in layers if layer is not None)
        names = [node.name for node in graph.nodes]
        self._steps = _steps(graph, slots, dict(zip(names, layers, strict=True)))
        kept = {slots[name] for name in (*graph.tensors, *references(graph.outputs))}
        free_(self._steps, kept)
        overwrite_(self._steps, {slots[name] for name in unshared(graph)})
        self._empty: list[Any] = [None] * (len(slots) - len(graph.inputs))

    def forward(self, *inputs: Tensor, **named: Tensor) -> Any:
        """Return the outputs; ValueError for inputs of another number, shape or type."""
        if named:
            inputs = _in_order(self.graph, inputs, named)
        require_inputs(self.graph, inputs)
        at_once = self.graph.at_once
        if at_once is not None and len(inputs[0]) > at_once:
            parts = [
                self._run(*part)
                for part in zip(*(torch.split(x, at_once) for x in inputs), strict=True)
            ]
            return _joined(parts)
        return self._run(*inputs)

    def _run(self, *inputs: Tensor) -> Any:
        values = [*inputs, *self._empty]
        buffers = self._buffers
        for slot, name in self._dense:
            values[slot] = buffers[name]
        for step in self._steps:
            step.run(values)
        return _collected(self.graph.outputs, values, self._slots)


def slots_of(graph: Graph) -> dict[str, int]:
    """Return the place of every input, tensor and result, in this order."""
    names = [*(one.name for one in graph.inputs), *graph.tensors]
    names += [node.name for node in graph.nodes]
    return {name: place for place, name in enumerate(names)}


def layer_of(node: Node, graph: Graph) -> nn.Module | None:
    """Return the module of a node with a sparse weight; None for others."""
    if node.op not in LAYERS or "rows" not in LAYERS[node.op].values():
        return None
    arguments = node.arguments
    rows = graph.weights[arguments["weight"].name]
    bias = graph.tensors[arguments["bias"].name] if arguments["bias"] else None
    activation = arguments["activation"]
    if node.op == "sparse_conv2d":
        pairs = ("kernel_size", "stride", "padding", "dilation")
        shape: Any = {name: tuple(arguments[name]) for name in pairs}
        return SparseConv2d(rows, bias, **shape, groups=arguments["groups"], activation=activation)
    kind = CsrLinear if node.op == "csr_linear" else SparseLinear
    return kind(rows, bias, activation=activation)


def step_of(
    node: Node,
    slots: Mapping[str, int],
    layer: nn.Module | None,
    *,
    stem: Stem | PooledStem | None = None,
) -> Step:
    """Return the call of a node; `layer` is that of `layer_of`, `stem` one of `stems`."""
    function, arguments, options = _called(node, layer, stem, Of(next(iter(slots))))
    nested = [one for one in arguments if isinstance(one, list) and any(references(one))]
    if nested:
        return _nested_step(node, function, arguments, options, slots)
    places = [(at, slots[one.name]) for at, one in enumerate(arguments) if isinstance(one, Of)]
    fixed = [None if isinstance(one, Of) else one for one in arguments]
    return Step(node.name, function, fixed, places, options, slots[node.name])


def _steps(
    graph: Graph, slots: Mapping[str, int], layers: Mapping[str, nn.Module | None]
) -> list[Step]:
    """Return the calls of a graph, some of them for several nodes at once."""
    first, together = stems(graph), joined(graph, layers)
    pooled = pooled_stems(graph, first)
    calls = {group.first.name: (group, call) for group, call in together.items()}
    early = {group.before.name: call.early for group, call in together.items() if group.before}
    done = {node.name for group in together for node in group.members()}
    done |= {one.node.name for one in pooled.values()}
    gelus = _gelus(graph, layers)
    done |= {linear.name for linear, _ in gelus.values()}
    steps = []
    for node in graph.nodes:
        if node.name in calls:
            steps.append(_joined_step(*calls[node.name], slots))
        elif node.name in early:
            place = [(0, slots[node.arguments["x"].name])]
            steps.append(Step(node.name, early[node.name], [None], place, {}, slots[node.name]))
        elif node.name in pooled:
            whole = step_of(pooled[node.name].node, slots, None, stem=pooled[node.name])
            steps.append(dataclasses.replace(whole, name=node.name, slot=slots[node.name]))
        elif node.name in gelus:
            linear, layer = gelus[node.name]
            place = [(0, slots[linear.arguments["x"].name])]
            steps.append(Step(node.name, layer.gelu, [None], place, {}, slots[node.name]))
        elif node.name not in done:
            steps.append(step_of(node, slots, layers[node.name], stem=first.get(node.name)))
    return steps


def _gelus(
    graph: Graph, layers: Mapping[str, nn.Module | None]
) -> dict[str, tuple[Node, SparseLinear]]:
    """Return the layers that only a GELU reads, which they compute while sums are near; by the
    names of the GELUs."""
    found, known = {}, {*references(graph.outputs)}
    for node in graph.nodes:
        layer, given = layers[node.name], node.arguments
        if not isinstance(layer, SparseLinear) or layer.activation or given["residual"]:
            continue
        readers = [reader for reader in graph.nodes if node.name in reader.reads()]
        if len(readers) == 1 and node.name not in known and _is_gelu(readers[0]):
            found[readers[0].name] = (node, layer)
    return found


def _is_gelu(node: Node) -> bool:
    return node.op == "aten.gelu.default" and node.arguments.get("approximate", "none") == "none"


def _joined_step(group: Group, call: Joined, slots: Mapping[str, int]) -> Step:
    places = [(at, slots[one.name]) for at, one in enumerate(group.reads()) if one is not None]
    name, second = group.first.name, None if group.after is None else slots[group.after.name]
    return Step(name, call, [None, None, False], places, {}, slots[name], second=second)


def require_inputs(graph: Graph, inputs: tuple[Tensor, ...]) -> None:
    """Raise ValueError for inputs of another number, shape or type."""
    if len(inputs) != len(graph.inputs):
        names = ", ".join(one.name for one in graph.inputs)
        raise ValueError(f"expected {len(graph.inputs)} inputs ({names}), got {len(inputs)}")
    for expected, given in zip(graph.inputs, inputs, strict=True):
        shape = given.shape
        fits = len(shape) == len(expected.shape)
        for wanted, size in zip(expected.shape, shape, strict=False):
            fits = fits and (wanted is None or wanted == size)
        if not fits or given.dtype != expected.dtype:
            raise ValueError(
                f"input {expected.name} must be {expected.dtype} {list(expected.shape)}, None for "
                f"any size; got {given.dtype} {list(given.shape)}"
            )


def _in_order(
    graph: Graph, inputs: tuple[Tensor, ...], named: Mapping[str, Tensor]
) -> tuple[Tensor, ...]:
    names = [one.name for one in graph.inputs[len(inputs) :]]
    if sorted(names) != sorted(named):
        raise ValueError(f"expected the inputs {', '.join(names)}, got {', '.join(named)}")
    return (*inputs, *(named[name] for name in names))


def _called(
    node: Node, layer: nn.Module | None, stem: Stem | PooledStem | None, first_input: Of
) -> tuple[Callable[..., Any], list[Any], dict[str, Any]]:
    given = node.arguments
    if layer is not None:
        may_overwrite = [False] if isinstance(layer, SparseConv2d) else []
        return layer.forward, [given["x"], given["residual"], *may_overwrite], {}
    if node.op in LAYERS:
        return stem or DENSE[node.op], [given[name] for name in LAYERS[node.op]], {}
    if node.op in NUMBERS:
        return NUMBERS[node.op], [given["one"], given["other"]], {}
    assert node.op in ATEN, node.op
    known = parameters(node.op)
    by_place = [one for one in known if not one.by_name]
    while by_place and by_place[-1].name not in given:
        by_place.pop()
    arguments = [given.get(one.name, one.default) for one in by_place]
    options = {one.name: given[one.name] for one in known if one.by_name and one.name in given}
    if makes_tensors(node.op):
        return _made_where(aten(node.op)), [first_input, *arguments], options
    return FASTER.get(node.op, aten(node.op)), arguments, options


def _made_where(function: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """Return a function that makes its tensor on the device of its first argument."""

    def make(like: Tensor, *arguments: Any, **options: Any) -> Tensor:
        return function(*arguments, **options, device=like.device)

    return make


def _nested_step(
    node: Node,
    function: Callable[..., Any],
    arguments: list[Any],
    options: dict[str, Any],
    slots: Mapping[str, int],
) -> Step:
    """Return a call with references inside of lists: those are put together when it is made."""
    names = list(references(arguments))

    def together(*values: Any) -> Any:
        left = iter(values)
        return function(*(_filled(one, left) for one in arguments), **options)

    places = [(at, slots[name]) for at, name in enumerate(names)]
    return Step(node.name, together, [None] * len(names), places, {}, slots[node.name])


def _filled(argument: Any, values: Iterator[Any]) -> Any:
    if isinstance(argument, Of):
        return next(values)
    if isinstance(argument, list):
        return [_filled(one, values) for one in argument]
    return argument


def _collected(outputs: Any, values: list[Any], slots: Mapping[str, int]) -> Any:
    if isinstance(outputs, Of):
        return values[slots[outputs.name]]
    if isinstance(outputs, Mapping):
        return {name: _collected(one, values, slots) for name, one in outputs.items()}
    if isinstance(outputs, list | tuple):
        return tuple(_collected(one, values, slots) for one in outputs)
    return outputs


def _joined(parts: list[Any]) -> Any:
    """Return outputs of several batches as those of one."""
    if isinstance(parts[0], Tensor):
        return torch.cat(parts)
    if isinstance(parts[0], Mapping):
        return {name: _joined([part[name] for part in parts]) for name in parts[0]}
    if isinstance(parts[0], tuple):
        return tuple(_joined(list(same)) for same in zip(*parts, strict=True))
    return parts[0]
