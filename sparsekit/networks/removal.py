"""Removal of channels and neurons that are entirely masked; the outputs stay what they are."""

from __future__ import annotations

import dataclasses
from typing import Any

import torch
from torch import Tensor

from sparsekit.core.folding import contribution, reaches
from sparsekit.core.prune import apply
from sparsekit.core.types import Masks, Probe, State
from sparsekit.data.batches import concatenate
from sparsekit.networks.channels import (
    Channels,
    Layer,
    Space,
    can_be_folded,
    roots,
    sibling,
)
from sparsekit.networks.equality import in_float64, require_equal_outputs
from sparsekit.networks.following import channels_of
from sparsekit.networks.network import Network
from sparsekit.networks.rebuild import Group, keep_channels, narrowed
from sparsekit.networks.trace import Trace, trace


def remove_masked_channels(
    network: Network, state: State, masks: Masks, probe: Probe | None, *, verify: bool = True
) -> tuple[Network, State, Masks]:
    """Remove the channels and neurons that change nothing: outputs in evaluation mode stay equal.

    A channel goes if, for every layer that reads it, all weights on it are masked, or if it is a
    constant c that is folded exactly. Rows that are entirely masked make it one: c is their bias,
    behind BatchNorm (c - mean) / std * gain + bias, behind an activation its value there. What
    c adds to the next layer, c * sum(W[:, j]), goes into its bias, or off the running mean of the
    BatchNorm behind it. Into a convolution padded with zeros only c = 0 is exact: the border sees
    fewer taps. A channel of a depthwise convolution goes with the one it reads. Other channels
    stay, named in the notes with the reason. One channel always stays. Where there is nothing to
    remove or to name, what was given is returned as it is.

    `state` are the weights before masking; those of pruned entries are carried along. `verify`:
    compare the outputs of both networks on a batch, in float64 (`require_equal_outputs`).
    """
    model = network.build()
    inputs = concatenate([network.example()] * 2)
    settled = _settled(trace(model, inputs), in_float64(apply(state, masks)), masks)
    groups = settled.groups()
    notes = settled.notes(masks)
    if not groups and not notes["left"]:
        return network, state, masks
    biases = tuple(settled.created)
    exact = narrowed({**in_float64(state), **settled.folded()}, groups)
    smaller = network.transformed(
        keep_channels,
        {"groups": groups, "biases": list(biases)},
        notes=notes,
        original=network.sizes(model, masks),
    )
    small_masks = narrowed(masks, groups)
    if verify:
        before, after = in_float64(apply(state, masks)), apply(exact, small_masks)
        require_equal_outputs((network, before), (smaller, after), probe)
    order = smaller.build().state_dict()
    like = {name: name if name in state else sibling(name, "weight") for name in order}
    rounded = {name: exact[name].to(state[like[name]].dtype) for name in order}
    return smaller, rounded, small_masks


@dataclasses.dataclass(eq=False)
class _Settled:
    """What is left once nothing more can go.

    `gone`: bool per set of channels, in their order. `places`: tensors that took over constants, of
    which `created` are biases that were not there. `masked`: names of masked tensors.
    """

    found: Channels
    tensors: dict[str, Tensor]
    masked: frozenset[str]
    gone: list[Tensor]
    places: set[str] = dataclasses.field(default_factory=set)
    created: dict[str, None] = dataclasses.field(default_factory=dict)

    def folded(self) -> dict[str, Tensor]:
        return {name: self.tensors[name] for name in (*self.places, *self.created)}

    def groups(self) -> list[Group]:
        """Return which entries of which tensors stay, as plain data."""
        pairs = zip(roots(self.found.spaces), self.gone, strict=True)
        return [
            {
                "kept": torch.nonzero(~gone).flatten().tolist(),
                "num_channels": space.size,
                "tensors": [list(member) for member in space.members],
            }
            for space, gone in pairs
            if bool(gone.any())
        ]

    def notes(self, masks: Masks) -> dict[str, Any]:
        """Say how many channels went, and which that are entirely masked stayed, and why."""
        gone = {id(s): g for s, g in zip(roots(self.found.spaces), self.gone, strict=True)}
        removed: dict[str, int] = {}
        left: dict[str, Any] = {}
        for layer in self.found.layers:
            space = layer.made.space.root
            removed[layer.prefix] = int(gone[id(space)].sum())
            if layer.weight in masks:
                empty = ~masks[layer.weight].flatten(1).any(dim=1) & ~gone[id(space)]
                if bool(empty.any()):
                    reason = space.reason or self._reason(space, empty)
                    left[layer.prefix] = {"channels": int(empty.sum()), "reason": reason}
        shown = [f"{one['channels']} of {name} ({one['reason']})" for name, one in left.items()]
        text = f"channels that are entirely masked were not removed: {', '.join(shown)}"
        return {
            "removed": {name: num for name, num in removed.items() if num},
            "left": left,
            "warnings": [text] if shown else [],
        }

    def _reason(self, space: Space, empty: Tensor) -> str:
        readers = [layer for layer in self.found.layers if layer.reads(space)]
        blocked = [~_free(self.found, layer, self.masked) & empty for layer in readers]
        blocking = [one for one, at in zip(readers, blocked, strict=True) if bool(at.any())]
        if not blocking:
            return "a layer keeps one channel"
        first = blocking[0]
        if bool(first.read.constants[empty].isnan().any()):
            return f"what {first.prefix} reads there is not constant"
        return f"its constant cannot be folded exactly into {first.prefix}"


def _settled(traced: Trace, tensors: State, masks: Masks) -> _Settled:
    """Remove, fold, and look again, until nothing changes: what goes may free what it reads."""
    found = channels_of(traced, tensors)
    gone = [torch.zeros(space.size, dtype=torch.bool) for space in roots(found.spaces)]
    settled = _Settled(found, dict(tensors), frozenset(masks), gone)
    while _remove_(settled):
        settled.found = channels_of(traced, settled.tensors, settled.created)
    return settled


def _remove_(settled: _Settled) -> bool:
    """Take out what may go now; say whether anything did."""
    changed = False
    for index, space in enumerate(roots(settled.found.spaces)):
        readers = [one for one in settled.found.layers if one.reads(space)]
        if space.reason is not None or not readers:
            continue
        frees = [_free(settled.found, layer, settled.masked) for layer in readers]
        going = torch.stack(frees).all(dim=0) & ~settled.gone[index]
        alive = ~settled.gone[index] & ~going
        if not bool(alive.any()):
            going[torch.nonzero(~settled.gone[index]).flatten()[0]] = False
        if bool(going.any()):
            for layer in readers:
                _fold_(settled, layer, going)
            _empty_(settled, space, going)
            settled.gone[index] = settled.gone[index] | going
            changed = True
    return changed


def _free(found: Channels, layer: Layer, masked: frozenset[str]) -> Tensor:
    """Say which channels a layer can do without: unused, 0, or with a place for the constant."""
    used = reaches(found.tensors[layer.weight], layer.read.repeat).any(dim=0)
    constants = layer.read.constants
    has_place = _place(found, layer) is not None and _place(found, layer) not in masked
    foldable = can_be_folded(constants, layer.exact) & ((constants == 0) | has_place)
    return ~used | foldable


def _place(found: Channels, layer: Layer) -> str | None:
    """Return the tensor that takes over constants: a running mean, or a bias, which may be new."""
    if found.uses[layer.weight] > 1:
        return None
    mean = found.norms.get(id(layer.made))
    if mean is not None and found.uses[mean] == 1:
        return mean
    return sibling(layer.weight, "bias")


def _fold_(settled: _Settled, layer: Layer, going: Tensor) -> None:
    tensors, repeat = settled.tensors, layer.read.repeat
    weight = tensors[layer.weight]
    constants = layer.read.constants.where(going, 0.0)
    added = contribution(weight, constants, repeat)
    place = _place(settled.found, layer)
    if place is not None and bool((added != 0).any()):
        if place not in tensors:
            settled.created[place] = None
            tensors[place] = torch.zeros_like(added)
        is_mean = place == settled.found.norms.get(id(layer.made))
        tensors[place] = tensors[place] + (-added if is_mean else added)
        settled.places.add(place)
    columns = torch.nonzero(going.repeat_interleave(repeat)).flatten()
    tensors[layer.weight] = weight.index_fill(1, columns, 0.0)


def _empty_(settled: _Settled, space: Space, going: Tensor) -> None:
    for name, dim, repeat in space.members:
        if name in settled.tensors:
            entries = torch.nonzero(going.repeat_interleave(repeat)).flatten()
            settled.tensors[name] = settled.tensors[name].index_fill(dim, entries, 0.0)
