"""Where the time of a converted network goes."""

from __future__ import annotations

import functools
import statistics
from typing import Any

import torch
from torch import Tensor

from sparsekit.inference.graph import Graph
from sparsekit.inference.layouts import as_kernels_want
from sparsekit.inference.running import layer_of, slots_of, step_of
from sparsekit.inference.stems import stems
from sparsekit.measuring.timing import Clock, timed

PASSES = 5


@torch.inference_mode()
def seconds_by_operation(
    graph: Graph, inputs: tuple[Tensor, ...], clock: Clock
) -> dict[str, float]:
    """Return the median seconds that a pass spends in each kind of operation, the most first."""
    slots = slots_of(graph)
    values: list[Any] = [*inputs, *as_kernels_want(graph).values()]
    values += [None] * (len(slots) - len(values))
    first = stems(graph)
    steps = [
        (node.op, step_of(node, slots, layer_of(node, graph), stem=first.get(node.name)))
        for node in graph.nodes
    ]
    passes = []
    for _ in range(1 + PASSES):
        spent: dict[str, float] = {}
        for op, step in steps:
            spent[op] = spent.get(op, 0.0) + timed(functools.partial(step.run, values), clock)()
        passes.append(spent)
    found = {op: statistics.median(one[op] for one in passes[1:]) for op in passes[0]}
    return dict(sorted(found.items(), key=lambda item: -item[1]))
