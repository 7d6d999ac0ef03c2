"""How many examples of a batch run at a time: as many as keep activations near."""

from __future__ import annotations

import dataclasses
import functools
import statistics

import torch
from torch import Tensor

from sparsekit.exports.comparing import threads as on_threads
from sparsekit.inference.graph import Graph
from sparsekit.inference.running import SparseNetwork
from sparsekit.measuring.timing import clock_for, interleave, repeated
from sparsekit.models.examples import tensors_in

SIZES = (1, 2, 4, 8)
ROUNDS = 5
WORTH = 0.97
"""A split must take less than this share of the time of the whole batch."""


@torch.inference_mode()
def split(graph: Graph, inputs: tuple[Tensor, ...], *, threads: int) -> Graph:
    """Return the graph with `at_once` as is fastest for batches like `inputs`, by measurement.

    It stays whole where an input or an output has no examples along its first dimension.
    """
    batch = len(inputs[0]) if inputs[0].ndim else 0
    candidates = [None, *(size for size in SIZES if size < batch and batch % size == 0)]
    if len(candidates) == 1 or not _by_example(graph, inputs, batch):
        return graph
    graphs = [dataclasses.replace(graph, at_once=size) for size in candidates]
    clock = clock_for(threads)
    ways = {
        str(place): repeated(functools.partial(SparseNetwork(one), *inputs), clock)
        for place, one in enumerate(graphs)
    }
    with on_threads(threads):
        samples = interleave(ways, rounds=ROUNDS)
    times = [statistics.median(samples[str(place)]) for place in range(len(graphs))]
    best = min(range(len(graphs)), key=times.__getitem__)
    return graphs[best] if times[best] < WORTH * times[0] else graph


def _by_example(graph: Graph, inputs: tuple[Tensor, ...], batch: int) -> bool:
    """Say whether inputs and outputs hold one example after the other, for any number of them."""
    if any(not one.shape or one.shape[0] is not None for one in graph.inputs):
        return False
    network = SparseNetwork(graph)
    for size in (1, batch):
        part = tuple(one[:size] for one in inputs)
        if any(len(one) != size for one in part):
            return False
        outputs = tensors_in(network(*part))
        if any(not one.ndim or len(one) != size for one in outputs):
            return False
    return True
