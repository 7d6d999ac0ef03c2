"""Which kind of layer each weight gets: by a fixed rule, or by what is fastest on this machine."""

from __future__ import annotations

import dataclasses
import functools
import statistics
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

import torch
from torch import Tensor

from sparsekit.exports.capture import Captured
from sparsekit.exports.comparing import threads as on_threads
from sparsekit.inference.graph import Graph, Node, Of
from sparsekit.inference.layouts import as_kernels_want
from sparsekit.inference.rows import SparseRows, sparse_rows
from sparsekit.inference.running import SparseNetwork, layer_of, slots_of, step_of
from sparsekit.inference.stems import Stem, stems
from sparsekit.measuring.timing import Clock, clock_for, interleave, repeated

Choose = Literal["measured", "sparse", "dense"]
CHOICES: tuple[Choose, ...] = ("measured", "sparse", "dense")

KINDS: Mapping[str, tuple[str, ...]] = {
    "linear": ("sparse_linear", "csr_linear", "linear"),
    "conv2d": ("sparse_conv2d", "conv2d"),
}
"""The operations that may do what a dense one does: ours first, the dense one last."""

KEPT = ".kept"
ROUNDS = 5
WHOLE_ROUNDS = 3

Plan = Mapping[str, str]
"""The kind of each layer, by the name of its node."""

Times = Mapping[str, Mapping[str, float]]
"""Median seconds of a call, by node and kind."""


@dataclasses.dataclass(frozen=True)
class Layer:
    """What became of one linear or convolution layer.

    `kind`: the operation chosen. `shape`: of its weight. `fan_in`: weights per row, None where it
    differs from row to row. `seconds`: per call, by kind, of all that were measured; empty by rule.
    """

    name: str
    weight: str
    kind: str
    shape: tuple[int, ...]
    density: float
    fan_in: int | None
    seconds: Mapping[str, float]


@torch.inference_mode()
def chosen(
    captured: Captured,
    inputs: tuple[Tensor, ...],
    *,
    choose: Choose = "measured",
    threads: int = 1,
    dtype: torch.dtype = torch.float32,
) -> tuple[Graph, list[Layer]]:
    """Return the graph with sparse layers where `choose` says so, and what became of each layer.

    "measured": every layer with a mask is measured in turns as every kind there is, among sparse
    layers, on what `inputs` become there; a dense convolution also has to leave its results as
    sparse ones want them. Then the fastest of each, all sparse and all dense are measured as whole
    networks. CPU time counts if `threads` is 1. "sparse": all layers whose mask removes anything.
    "dense": none. Layers that share a weight are of one kind. `dtype` is how values of sparse
    weights are stored.
    """
    if choose not in CHOICES:
        raise ValueError(f"choose must be one of {', '.join(CHOICES)}, got {choose!r}")
    work = _Choosing(captured, dtype)
    sparse, dense = work.plan(lambda node: 0), work.plan(lambda node: -1)
    if choose != "measured":
        return work.result(sparse if choose == "sparse" else dense, {})
    clock = clock_for(threads)
    with on_threads(threads):
        times = work.measured(inputs, clock)
        fastest = work.plan(lambda node: _fastest(work.kinds(node), times.get(node.name, {})))
        plans = [fastest] if fastest == sparse else [fastest, sparse, dense]
        best = _best([work.result(plan, times)[0] for plan in plans], inputs, clock)
    return work.result(plans[best], times)


def _fastest(kinds: Sequence[str], seconds: Mapping[str, float]) -> int:
    return min(range(len(kinds)), key=lambda place: seconds.get(kinds[place], 0.0))


def _best(graphs: Sequence[Graph], inputs: tuple[Tensor, ...], clock: Clock) -> int:
    """Return which graph is the fastest as a whole."""
    if len(graphs) == 1:
        return 0
    networks = [SparseNetwork(graph) for graph in graphs]
    ways = {
        str(place): repeated(functools.partial(one, *inputs), clock)
        for place, one in enumerate(networks)
    }
    samples = interleave(ways, rounds=WHOLE_ROUNDS)
    return min(range(len(graphs)), key=lambda place: statistics.median(samples[str(place)]))


class _Choosing:
    """A captured network, of whose masked weights sparse ones are made once."""

    def __init__(self, captured: Captured, dtype: torch.dtype) -> None:
        self.graph, self.masks, self.dtype = captured.graph, captured.masks, dtype
        self.rows: dict[str, SparseRows] = {}

    def kinds(self, node: Node) -> tuple[str, ...]:
        """Return the kinds a node may be of, ours first, dense last."""
        weight = node.arguments.get("weight")
        if node.op not in KINDS or not isinstance(weight, Of):
            return (node.op,)
        mask = self.masks.get(weight.name)
        return (node.op,) if mask is None or bool(mask.all()) else KINDS[node.op]

    def plan(self, place: Callable[[Node], int]) -> Plan:
        """Return the kind of each node by its place in `kinds`; nodes share it with a weight."""
        plan: dict[str, str] = {}
        shared: dict[tuple[str, str], str] = {}
        for node in self.graph.nodes:
            kinds = self.kinds(node)
            kind = kinds[place(node)]
            if len(kinds) > 1:
                kind = shared.setdefault((node.arguments["weight"].name, node.op), kind)
            plan[node.name] = kind
        return plan

    def made(self, node: Node, kind: str) -> Node:
        """Return a node as one of its kinds; the sparse weight is made if it was not."""
        if kind == node.op:
            return node
        weight = node.arguments["weight"].name
        tensor, name = self.graph.tensors[weight], f"{weight}{KEPT}"
        if name not in self.rows:
            self.rows[name] = sparse_rows(tensor, self.masks[weight], dtype=self.dtype)
        arguments = {**node.arguments, "weight": Of(name)}
        if kind == "sparse_conv2d":
            arguments["kernel_size"] = list(tensor.shape[2:])
        return Node(node.name, kind, arguments)

    def measured(self, inputs: tuple[Tensor, ...], clock: Clock) -> Times:
        """Run the network once, all layers sparse; measure each where it is reached."""
        slots = slots_of(self.graph)
        values: list[Any] = [*inputs, *as_kernels_want(self.graph).values()]
        values += [None] * (len(slots) - len(values))
        times: dict[str, Mapping[str, float]] = {}
        sparse = tuple(self.made(node, self.kinds(node)[0]) for node in self.graph.nodes)
        first = stems(dataclasses.replace(self.graph, nodes=sparse))
        for node in self.graph.nodes:
            stem = first.get(node.name)
            calls = {
                kind: self._call(node, kind, slots, values, stem=stem) for kind in self.kinds(node)
            }
            found = next(iter(calls.values()))()
            if len(calls) > 1:
                ways = {
                    kind: repeated(functools.partial(_as_lies, call, found), clock)
                    for kind, call in calls.items()
                }
                samples = interleave(ways, rounds=ROUNDS)
                times[node.name] = {kind: statistics.median(one) for kind, one in samples.items()}
            values[slots[node.name]] = found
        return times

    def _call(
        self,
        node: Node,
        kind: str,
        slots: Mapping[str, int],
        values: list[Any],
        *,
        stem: Stem | None,
    ) -> Callable[[], Any]:
        made = self.made(node, kind)
        layer = layer_of(made, dataclasses.replace(self.graph, weights=self.rows))
        step = step_of(made, slots, layer, stem=stem)

        def call() -> Any:
            step.run(values)
            return values[step.slot]

        return call

    def result(self, plan: Plan, times: Times) -> tuple[Graph, list[Layer]]:
        """Return the graph by a plan, with what its nodes read, and its layers."""
        made = [self.made(node, plan[node.name]) for node in self.graph.nodes]
        read = {name for node in made for name in node.reads()}
        # A sparse weight has the name of its dense form, unless something reads that as well.
        names = {
            f"{name}{KEPT}": f"{name}{KEPT}" if name in read else name
            for name in self.graph.tensors
        }
        nodes = tuple(_with_weight(node, names) for node in made)
        weights = {names[name]: rows for name, rows in self.rows.items() if name in read}
        graph = dataclasses.replace(self.graph, nodes=nodes, weights=weights)
        dense = graph.read() - set(weights)
        tensors = {name: one for name, one in graph.tensors.items() if name in dense}
        layers = [
            self._described(node, plan[node.name], times.get(node.name, {}))
            for node in self.graph.nodes
            if node.op in KINDS and isinstance(node.arguments["weight"], Of)
        ]
        return dataclasses.replace(graph, tensors=tensors), layers

    def _described(self, node: Node, kind: str, seconds: Mapping[str, float]) -> Layer:
        weight = node.arguments["weight"].name
        mask = self.masks.get(weight)
        kept = torch.ones(1) if mask is None else mask.flatten(1).sum(dim=1)
        is_even = mask is not None and bool((kept == kept[0]).all())
        return Layer(
            name=node.name,
            weight=weight,
            kind=kind,
            shape=tuple(self.graph.tensors[weight].shape) if weight in self.graph.tensors else (),
            density=1.0 if mask is None else float(mask.float().mean()),
            fan_in=int(kept[0]) if is_even else None,
            seconds=seconds,
        )


def _as_lies(call: Callable[[], Tensor], like: Tensor) -> Tensor:
    """Return the result of a call, lying in memory as another does; copied only if it must be."""
    result = call()
    if result.stride() == like.stride():
        return result
    return torch.empty_like(like).copy_(result)


def _with_weight(node: Node, names: Mapping[str, str]) -> Node:
    weight = node.arguments.get("weight")
    if not isinstance(weight, Of) or weight.name not in names:
        return node
    arguments = {**node.arguments, "weight": Of(names[weight.name])}
    return dataclasses.replace(node, arguments=arguments)
