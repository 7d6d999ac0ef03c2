"""A new head: the same network for another number of outputs, the rest of it as it was."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from fnmatch import fnmatchcase
from typing import Any

import torch
from torch import nn

from sparsekit.core.types import Masks, Probe, State
from sparsekit.networks.network import Network


def head_names(network: Network) -> tuple[str, ...]:
    """Return the names of the tensors that the number of outputs decides: the head, or the heads.

    Found by building the network for one output more, so it matters neither where a builder
    registers its head nor how many there are. Embeddings of tokens that are also what is predicted
    belong to it. ValueError for a builder whose network is the same for any number of outputs.
    """
    first = network.build().state_dict()
    other = dataclasses.replace(network, num_outputs=network.num_outputs + 1).build().state_dict()
    found = tuple(name for name in first if first[name].shape != other[name].shape)
    if not found:
        raise ValueError(
            f"{network.model['_target_']} builds the same network for any number of outputs: it "
            "has no head to be found; name its parameters instead"
        )
    return found


def matching(names: Sequence[str], patterns: Sequence[str]) -> tuple[str, ...]:
    """Return the names that match any pattern; ValueError for a pattern that matches none."""
    for pattern in patterns:
        if not any(fnmatchcase(name, pattern) for name in names):
            raise ValueError(f"pattern {pattern!r} matches none of {', '.join(names)}")
    return tuple(n for n in names if any(fnmatchcase(n, pattern) for pattern in patterns))


def new_head(
    network: Network,
    state: State,
    masks: Masks,
    probe: Probe | None,
    *,
    num_outputs: int,
    seed: int,
    head: Sequence[str] = (),
) -> tuple[Network, State, Masks]:
    """Replace the head by one for `num_outputs`, drawn by the builder under `seed`, dense.

    `head`: patterns of names in the state dict; without any, what the number of outputs decides.
    Everything else keeps its weights and masks. Outputs do not stay equal, nor are they meant to.
    ValueError if a tensor outside the head would have to change its shape.
    """
    names = matching(list(state), head) if head else head_names(network)
    after = dataclasses.replace(network, num_outputs=num_outputs)
    fresh = dataclasses.replace(after, seed=seed).build().state_dict()
    for name, tensor in fresh.items():
        if name not in names and (name not in state or state[name].shape != tensor.shape):
            raise ValueError(
                f"{name} is {list(tensor.shape)} with num_outputs={num_outputs}, but it is not in "
                f"the head ({', '.join(names)})"
            )
    kept = {
        name: torch.ones(fresh[name].shape, dtype=torch.bool) if name in names else mask
        for name, mask in masks.items()
    }
    made = after.transformed(
        as_it_is,
        {"head": list(names), "num_outputs": num_outputs, "seed": seed},
        notes={"num_outputs_before": network.num_outputs},
        original=_grown(network, after, names, masks),
    )
    weights = {name: fresh[name] if name in names else state[name] for name in fresh}
    return made, weights, kept


def as_it_is(model: nn.Module, **arguments: Any) -> nn.Module:
    """Return `model`: the builder made the new head already, for its number of outputs."""
    return model


def _grown(
    network: Network, after: Network, names: Sequence[str], masks: Masks
) -> dict[str, int] | None:
    """Return the sizes that sparsities count from, with the new head in the place of the old."""
    if network.original is None:
        return None
    bare = [dataclasses.replace(one, transforms=()).build() for one in (network, after)]
    sizes = dict(network.original)
    for sign, model in zip((-1, 1), bare, strict=True):
        for name, parameter in model.named_parameters():
            if name in names:
                sizes["num_parameters"] += sign * parameter.numel()
                sizes["num_prunable"] += sign * parameter.numel() * (name in masks)
    return sizes
