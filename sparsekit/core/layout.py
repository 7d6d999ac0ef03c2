"""Weights whose outputs are not their rows, shown to the core "out *rest" as all others are.

A transposed convolution stores its weight "in out/groups *kernel", input channel by input channel
of one group after the other; its outputs are the second dimension, once per group. Patterns, rules,
allocations and fan-in work on rows, so code that knows the layers declares these weights, and what
the core decides is put back into the layout they are stored in.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from torch import Tensor

from sparsekit.core.types import Masks, Mover, Probe, Sample, Weights

Transposed = Mapping[str, int]
"""Names of weights stored "in out/groups *kernel", with their number of groups."""


def outputs_first(tensors: Mapping[str, Tensor], transposed: Transposed) -> dict[str, Tensor]:
    """Return `tensors` with an output in every row: "out in/groups *kernel" for transposed ones.

    ValueError for a weight whose inputs are not a multiple of its groups.

    >>> import torch
    >>> stored = {"up": torch.ones(4, 3, 2, 2), "fc": torch.ones(5, 6)}
    >>> {n: tuple(t.shape) for n, t in outputs_first(stored, {"up": 2}).items()}
    {'up': (6, 2, 2, 2), 'fc': (5, 6)}
    """
    return {name: _swapped(name, t, transposed.get(name)) for name, t in tensors.items()}


def as_stored(tensors: Mapping[str, Tensor], transposed: Transposed) -> dict[str, Tensor]:
    """Return what `outputs_first` was given.

    >>> import torch
    >>> stored = {"up": torch.arange(48.0).view(4, 3, 2, 2)}
    >>> torch.equal(as_stored(outputs_first(stored, {"up": 2}), {"up": 2})["up"], stored["up"])
    True
    """
    return outputs_first(tensors, transposed)  # swapping twice is swapping back


def _swapped(name: str, tensor: Tensor, groups: int | None) -> Tensor:
    if groups is None:
        return tensor
    if tensor.dim() < 2 or tensor.shape[0] % groups:
        shape = tuple(tensor.shape)
        raise ValueError(f"{name!r} of shape {shape} is not a transposed weight of {groups} groups")
    grouped = tensor.reshape(groups, tensor.shape[0] // groups, *tensor.shape[1:]).transpose(1, 2)
    return grouped.flatten(0, 1).contiguous()


def prune_rows(
    prune: Callable[..., Masks],
    weights: Weights,
    masks: Masks,
    probe: Probe | None,
    num_kept: int,
    *,
    transposed: Transposed,
) -> Masks:
    """Return the masks of `prune`, which sees the outputs of every weight as its rows."""
    if not transposed:
        return prune(weights, masks, probe, num_kept=num_kept)
    shown = None if probe is None else _ProbeOfRows(probe, transposed)
    selected = {name: weights[name] for name in masks}
    rows, kept = (outputs_first(tensors, transposed) for tensors in (selected, masks))
    return as_stored(prune(rows, kept, shown, num_kept=num_kept), transposed)


def rows_first(mover: Mover, transposed: Transposed) -> Mover:
    """Return `mover` as one that is given weights as they are stored, and sees outputs as rows."""
    return _MoverOfRows(mover, transposed) if transposed else mover


@dataclass(frozen=True)
class _MoverOfRows:
    """A mover that sees outputs as rows."""

    mover: Mover
    transposed: Transposed

    @property
    def timing(self) -> Literal["after", "instead"]:
        return self.mover.timing

    @property
    def num_gradients(self) -> int:
        return self.mover.num_gradients

    def acts(self, step: int, num_steps: int) -> bool:
        return self.mover.acts(step, num_steps)

    def move(
        self, step: int, weights: Weights, grads: Weights, masks: Masks, num_steps: int
    ) -> Masks | None:
        rows, slopes, kept = (outputs_first(t, self.transposed) for t in (weights, grads, masks))
        moved = self.mover.move(step, rows, slopes, kept, num_steps)
        return None if moved is None else as_stored(moved, self.transposed)

    def rehearse(self, weights: Weights, masks: Masks, num_steps: int) -> None:
        selected = {name: weights[name] for name in masks}
        rows, kept = (outputs_first(tensors, self.transposed) for tensors in (selected, masks))
        self.mover.rehearse(rows, kept, num_steps)


@dataclass(frozen=True)
class _ProbeOfRows:
    """A probe that is asked, and answers, with outputs as rows."""

    probe: Probe
    transposed: Transposed

    def gradients(
        self, weights: Weights, sample: Sample | None = None, *, temperature: float = 1.0
    ) -> Weights:
        stored = as_stored(weights, self.transposed)
        found = self.probe.gradients(stored, sample, temperature=temperature)
        return outputs_first(found, self.transposed)

    def hessian_product(
        self, weights: Weights, direction: Weights, sample: Sample, *, temperature: float = 1.0
    ) -> Weights:
        stored, along = (as_stored(one, self.transposed) for one in (weights, direction))
        found = self.probe.hessian_product(stored, along, sample, temperature=temperature)
        return outputs_first(found, self.transposed)

    def flow(self, weights: Weights) -> Weights:
        found = self.probe.flow(as_stored(weights, self.transposed))
        return outputs_first(found, self.transposed)

    def inputs(self) -> Any:
        return self.probe.inputs()

    def stored_masks(self, ticket: str) -> Masks:
        return outputs_first(self.probe.stored_masks(ticket), self.transposed)
