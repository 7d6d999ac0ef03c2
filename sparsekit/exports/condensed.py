"""The format that runs: a graph, and the kept weights row by row."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from sparsekit.core.prune import apply
from sparsekit.data.batches import Inputs, concatenate, num_examples, part, tensors_of
from sparsekit.exports.choosing import KINDS
from sparsekit.exports.comparing import batch_of
from sparsekit.exports.convert import convert
from sparsekit.exports.original import Original
from sparsekit.exports.settings import Run, Settings
from sparsekit.inference.codings import condensed_parts, csr_parts, is_constant, num_bytes_of
from sparsekit.inference.graph import Graph
from sparsekit.inference.layout import Stored, encoded, plain, written
from sparsekit.inference.manifest import GRAPH, LAYOUT, WEIGHTS
from sparsekit.inference.reading import load
from sparsekit.networks.removal import remove_masked_channels
from sparsekit.store.tensors import save_tensors
from sparsekit.system.files import write_json


def write_condensed(original: Original, folder: Path, settings: Settings) -> None:
    """Write the network converted for batches of the size asked for, as graph and tensors.

    What is without any weight goes first. Rows that keep equally many weights, or none, are stored
    as [active rows, k], others as CSR.
    """
    state = original.model.state_dict()
    network, state, masks = remove_masked_channels(original.network, state, original.masks, None)
    model = network.loaded(apply(state, masks)).eval()
    batch = batch_of(original.inputs, settings.batch_size)
    made = convert(model, masks, batch, threads=settings.threads, dtype=settings.values)
    layout, tensors = written(stored_graph(made.graph))
    save_tensors(tensors, folder / WEIGHTS)
    write_json(folder / LAYOUT, layout)
    write_json(folder / GRAPH, made.graph.record()[0])


def stored_graph(graph: Graph) -> Iterator[Stored]:
    """Yield the tensors and the sparse weights of a graph as they are stored."""
    for name, tensor in graph.tensors.items():
        yield smallest(name, tensor)
    for name, rows in graph.weights.items():
        shape = rows.num_rows, rows.num_columns
        if is_constant(rows):
            yield Stored(name, shape, "condensed", condensed_parts(rows))
        else:
            yield Stored(name, shape, "csr", csr_parts(rows))


def smallest(name: str, tensor: Tensor) -> Stored:
    """Return a tensor without its zeros where that is smaller: layers that run dense have many.

    Values are stored as bfloat16 where none of them has more bits.
    """
    as_is = plain(name, tensor)
    if tensor.dtype != torch.float32 or tensor.ndim < 2:
        return as_is
    bits = tensor.contiguous().view(torch.int32)
    values = tensor.dtype if bool((bits & 0xFFFF).any()) else torch.bfloat16
    packed = encoded(name, tensor, bits != 0, ("gaps", "bitmap"), values)  # -0.0 is kept
    return min(as_is, packed, key=lambda one: num_bytes_of(one.parts))


def layers_of(folder: Path) -> dict[str, int]:
    """Return what an export runs its layers as, and how many are of each kind."""
    nodes = load(folder).graph.nodes
    kinds = {kind for kinds in KINDS.values() for kind in kinds}
    return dict(sorted(Counter(node.op for node in nodes if node.op in kinds).items()))


def open_condensed(folder: Path, original: Original, settings: Settings) -> Run:
    """Return what `write_condensed` wrote, for any number of examples."""
    network = load(folder)
    size = network.graph.inputs[0].shape[0]

    def run(inputs: Inputs) -> Any:
        count = num_examples(inputs)
        if size in (None, count):
            return network(*tensors_of(inputs))
        whole = batch_of(inputs, -(-count // size) * size)
        pieces = [part(whole, first, first + size) for first in range(0, count, size)]
        return part(concatenate([network(*tensors_of(one)) for one in pieces]), 0, count)

    return run
