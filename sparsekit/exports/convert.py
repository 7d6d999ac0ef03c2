"""Networks made sparse as a whole, and compared with what they were made of."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call

from sparsekit.core.prune import apply
from sparsekit.data.batches import Inputs, call, tensors_of
from sparsekit.exports.capture import Captured, Masks, capture, masks_by_name
from sparsekit.exports.choosing import Choose, Layer, chosen
from sparsekit.exports.constants import computed
from sparsekit.exports.folding import folded
from sparsekit.exports.splitting import split
from sparsekit.inference.checking import check
from sparsekit.inference.graph import Graph
from sparsekit.inference.running import SparseNetwork, layer_of, slots_of, step_of
from sparsekit.models.examples import tensors_in, unchanged
from sparsekit.networks.equality import drawn_inputs
from sparsekit.networks.removal import remove_masked_channels
from sparsekit.networks.stored import read
from sparsekit.store.references import Reference

TOLERANCES = {torch.float32: 1e-4, torch.bfloat16: 2e-2}
"""By how values are stored: so much of the largest output may outputs differ."""


@dataclasses.dataclass(frozen=True)
class Conversion:
    """A converted network.

    `layers`: what became of each linear and convolution layer. `difference`: of its outputs from
    those of the masked dense network, the largest, relative to the largest output.
    """

    graph: Graph
    layers: tuple[Layer, ...]
    difference: float

    def network(self) -> SparseNetwork:
        """Return the network, to be called like the one it was made of."""
        return SparseNetwork(self.graph)

    @property
    def takes_any_batch(self) -> bool:
        """Say whether batches may have any size, or only that of the inputs given."""
        return all(one.shape[0] is None for one in self.graph.inputs if one.shape)


def convert(
    model: nn.Module,
    masks: Masks,
    inputs: Inputs,
    *,
    choose: Choose = "measured",
    threads: int = 1,
    dtype: torch.dtype = torch.float32,
    tolerance: float | None = None,
) -> Conversion:
    """Convert a module with masks into a graph that multiplies by kept weights alone.

    `masks`: bool by parameter name, True is kept; whatever else the model holds stays dense.
    `inputs`: a batch of real examples, of the size to be fast at: layers are measured with it, and
    outputs compared. `choose`, `threads`, `dtype` (float32 or bfloat16): see `choosing.chosen`.
    Weights with a mask have no more than the bits of `dtype`, also in layers that run dense. The
    model is left as it was.

    ValueError for a model that cannot be captured (see `capture`), and where outputs differ from
    those of the masked dense network by more than `tolerance` times the largest of them (1e-4, with
    bfloat16 2e-2); it names the layer that differs most.
    """
    if dtype not in TOLERANCES:
        raise ValueError(f"dtype must be one of {', '.join(map(str, TOLERANCES))}, got {dtype}")
    captured = folded(computed(capture(model, inputs, masks)))
    tensors = tuple(tensors_of(inputs))
    stored = _rounded(captured, dtype)
    graph, layers = chosen(stored, tensors, choose=choose, threads=threads, dtype=dtype)
    if choose == "measured":
        graph = split(graph, tensors, threads=threads)
    check(graph)
    difference = _difference(_masked_outputs(model, masks, inputs), _outputs(graph, tensors))
    limit = TOLERANCES[dtype] if tolerance is None else tolerance
    if not difference <= limit:
        name, worst = _worst_layer(captured, graph, tensors)
        raise ValueError(
            f"the converted network's outputs differ by {difference:.3g} of the largest one, more "
            f"than {limit:g}; of its layers {name} differs most, by {worst:.3g}"
        )
    return Conversion(graph, tuple(layers), difference)


def convert_stored(
    reference: Reference,
    inputs: Inputs | None = None,
    *,
    store: str | Path | None = None,
    cycle: int | None = None,
    remove: bool = True,
    choose: Choose = "measured",
    threads: int = 1,
    dtype: torch.dtype = torch.float32,
    tolerance: float | None = None,
) -> Conversion:
    """Convert a stored network; `reference`, `store` and `cycle` as in `sparsekit.load`.

    `remove`: channels and neurons without weights go first, their constants folded, where that is
    exact (see `remove_masked_channels`). `inputs`: without any, eight examples drawn from N(0, 1).
    """
    network, state, masks, _ = read(reference, store=store, cycle=cycle)
    if remove:
        network, state, masks = remove_masked_channels(network, state, masks, None)
    given = drawn_inputs(network) if inputs is None else inputs
    model = network.loaded(apply(state, masks)).eval()
    settings: dict[str, Any] = {"choose": choose, "threads": threads, "dtype": dtype}
    return convert(model, masks, given, **settings, tolerance=tolerance)


def _rounded(captured: Captured, dtype: torch.dtype) -> Captured:
    """Return the network with values that `dtype` can store in its masked weights."""
    tensors = dict(captured.graph.tensors)
    for name in captured.masks:
        tensors[name] = tensors[name].to(dtype).float()
    return dataclasses.replace(captured, graph=dataclasses.replace(captured.graph, tensors=tensors))


@torch.no_grad()
def _masked_outputs(model: nn.Module, masks: Masks, inputs: Inputs) -> list[Tensor]:
    by_name = masks_by_name(model, masks)
    named = dict(model.named_parameters(remove_duplicate=False))
    masked = {name: torch.where(mask, named[name], 0.0) for name, mask in by_name.items()}

    def run(*arguments: Tensor, **options: Tensor) -> Any:
        return functional_call(model, masked, arguments, options, tie_weights=False)

    with unchanged(model):
        model.eval()
        return tensors_in(call(run, inputs))


@torch.inference_mode()
def _outputs(graph: Graph, inputs: tuple[Tensor, ...]) -> list[Tensor]:
    return tensors_in(SparseNetwork(graph)(*inputs))


def _difference(expected: list[Tensor], found: list[Tensor]) -> float:
    """Return the largest difference relative to the largest entry."""
    pairs = zip(expected, found, strict=True)
    largest = max((float(one.abs().max()) for one in expected), default=0.0)
    apart = max((float((one - other).abs().max()) for one, other in pairs), default=0.0)
    return apart / largest if largest else apart


@torch.inference_mode()
def _worst_layer(captured: Captured, graph: Graph, inputs: tuple[Tensor, ...]) -> tuple[str, float]:
    """Return the layer that differs most from the dense one on the same input, and by how much."""
    dense = captured.graph
    slots = slots_of(dense)
    values: list[Any] = [*inputs, *dense.tensors.values()]
    values += [None] * (len(slots) - len(values))
    worst = ("none", 0.0)
    for node, other in zip(dense.nodes, graph.nodes, strict=True):
        step_of(node, slots, None).run(values)
        expected = values[slots[node.name]]
        if other.op == node.op:
            continue
        step_of(other, slots, layer_of(other, graph)).run(values)
        apart = _difference([expected], [values[slots[node.name]]])
        values[slots[node.name]] = expected
        worst = max(worst, (node.name, apart), key=lambda one: one[1])
    return worst
