"""Which kind of layer each weight gets: by a fixed rule, or by what is fastest on this machine."""

from __future__ import annotations

import dataclasses
import statistics
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Literal

import torch
from torch import Tensor

from sparsekit.exports.capture import Captured
from sparsekit.inference.graph import Graph, Node, Of
from sparsekit.inference.layouts import as_kernels_want
from sparsekit.inference.rows import SparseRows, sparse_rows
from sparsekit.inference.running import layer_of, slots_of, step_of

Choose = Literal["measured", "sparse", "dense"]
CHOICES: tuple[Choose, ...] = ("measured", "sparse", "dense")

KINDS: Mapping[str, tuple[str, ...]] = {
    "linear": ("linear", "sparse_linear", "csr_linear"),
    "conv2d": ("conv2d", "sparse_conv2d"),
}
"""The operations that may do what a dense one does; with weights all kept, the first alone."""

KEPT = ".kept"
ROUNDS = 5
ROUND_SECONDS = 0.003


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

    "measured": the network runs once on `inputs`, each layer with a mask as every kind there is on
    what reaches it from the layers chosen before it, in turns; the fastest median is taken, of CPU
    time if `threads` is 1. "sparse": all layers with a mask that removes anything. "dense": none.
    Layers that share a weight are of one kind. `dtype` is how values of sparse weights are stored.
    """
    if choose not in CHOICES:
        raise ValueError(f"choose must be one of {', '.join(CHOICES)}, got {choose!r}")
    work = _Choosing(captured, dtype)
    if choose != "measured":
        for node in captured.graph.nodes:
            work.take(node, work.kinds(node)[-1 if choose == "dense" else 0], {})
        return work.result()
    with _threads(threads):
        clock = time.thread_time if threads == 1 else time.perf_counter
        work.measure(inputs, clock)
    return work.result()


@contextmanager
def _threads(number: int) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(number)
    try:
        yield
    finally:
        torch.set_num_threads(before)


class _Choosing:
    """A graph of which some layers were chosen: `weights` are those that became sparse."""

    def __init__(self, captured: Captured, dtype: torch.dtype) -> None:
        self.captured, self.dtype = captured, dtype
        self.nodes: list[Node] = []
        self.layers: list[Layer] = []
        self.weights: dict[str, SparseRows] = {}
        self.kind_of: dict[str, str] = {}

    def kinds(self, node: Node) -> tuple[str, ...]:
        """Return the kinds a node may be of: the preferred sparse one first, dense last."""
        if node.op not in KINDS or not isinstance(node.arguments["weight"], Of):
            return (node.op,)
        weight = node.arguments["weight"].name
        mask = self.captured.masks.get(weight)
        if mask is None or bool(mask.all()):
            return (node.op,)
        if (known := f"{weight} {node.op}") in self.kind_of:
            return (self.kind_of[known],)
        return (*KINDS[node.op][1:], node.op)

    def take(self, node: Node, kind: str, seconds: Mapping[str, float]) -> None:
        """Decide on the kind of a node."""
        made = self.made(node, kind)
        self.nodes.append(made)
        if node.op in KINDS and isinstance(node.arguments["weight"], Of):
            self.kind_of[f"{node.arguments['weight'].name} {node.op}"] = kind
            self.layers.append(self._described(node, kind, seconds))

    def made(self, node: Node, kind: str) -> Node:
        """Return a node as one of its kinds; the sparse weight is made if it was not."""
        if kind == node.op:
            return node
        weight = node.arguments["weight"].name
        tensor, name = self.captured.graph.tensors[weight], f"{weight}{KEPT}"
        if name not in self.weights:
            mask = self.captured.masks[weight]
            self.weights[name] = sparse_rows(tensor, mask, dtype=self.dtype)
        arguments = {**node.arguments, "weight": Of(name)}
        if kind == "sparse_conv2d":
            arguments["kernel_size"] = list(tensor.shape[2:])
        return Node(node.name, kind, arguments)

    def measure(self, inputs: tuple[Tensor, ...], clock: Callable[[], float]) -> None:
        """Run the network once, deciding on each layer when it is reached."""
        graph = self.captured.graph
        slots = slots_of(graph)
        values: list[Any] = [*inputs, *as_kernels_want(graph).values()]
        values += [None] * (len(slots) - len(values))
        for node in graph.nodes:
            kinds = self.kinds(node)
            calls = {kind: self._call(self.made(node, kind), slots, values) for kind in kinds}
            seconds = _medians(calls, clock) if len(kinds) > 1 else {}
            kind = min(seconds, key=lambda one: seconds[one]) if seconds else kinds[0]
            values[slots[node.name]] = calls[kind]()
            self.take(node, kind, seconds)

    def _call(self, node: Node, slots: Mapping[str, int], values: list[Any]) -> Callable[[], Any]:
        graph = dataclasses.replace(self.captured.graph, weights=self.weights)
        step = step_of(node, slots, layer_of(node, graph))

        def call() -> Any:
            step.run(values)
            return values[step.slot]

        return call

    def _described(self, node: Node, kind: str, seconds: Mapping[str, float]) -> Layer:
        weight = node.arguments["weight"].name
        tensor, mask = self.captured.graph.tensors[weight], self.captured.masks.get(weight)
        kept = torch.ones(1) if mask is None else mask.flatten(1).sum(dim=1)
        is_even = mask is not None and bool((kept == kept[0]).all())
        return Layer(
            name=node.name,
            weight=weight,
            kind=kind,
            shape=tuple(tensor.shape),
            density=1.0 if mask is None else float(mask.float().mean()),
            fan_in=int(kept[0]) if is_even else None,
            seconds=seconds,
        )

    def result(self) -> tuple[Graph, list[Layer]]:
        """Return the graph with what its nodes read, and the layers."""
        read = {name for node in self.nodes for name in node.reads()}
        # A sparse weight has the name of its dense form, unless something reads that as well.
        names = {
            f"{name}{KEPT}": f"{name}{KEPT}" if name in read else name
            for name in self.captured.graph.tensors
        }
        nodes = tuple(_with_weight(node, names) for node in self.nodes)
        weights = {names[name]: one for name, one in self.weights.items() if name in read}
        graph = dataclasses.replace(self.captured.graph, nodes=nodes, weights=weights)
        read = graph.read() - set(weights)
        tensors = {name: one for name, one in graph.tensors.items() if name in read}
        return dataclasses.replace(graph, tensors=tensors), self.layers


def _with_weight(node: Node, names: Mapping[str, str]) -> Node:
    weight = node.arguments.get("weight")
    if not isinstance(weight, Of) or weight.name not in names:
        return node
    return dataclasses.replace(node, arguments={**node.arguments, "weight": Of(names[weight.name])})


def _medians(
    calls: Mapping[str, Callable[[], Any]], clock: Callable[[], float]
) -> dict[str, float]:
    """Return the median seconds of each call, made in turns."""
    repeats = {}
    for kind, call in calls.items():
        call()
        start = clock()
        call()
        repeats[kind] = max(1, int(ROUND_SECONDS / max(clock() - start, 1e-6)))
    rounds: dict[str, list[float]] = {kind: [] for kind in calls}
    for _ in range(ROUNDS):
        for kind, call in calls.items():
            start = clock()
            for _ in range(repeats[kind]):
                call()
            rounds[kind].append((clock() - start) / repeats[kind])
    return {kind: statistics.median(one) for kind, one in rounds.items()}
