"""The optional stage between pruning and fitting: what is trained becomes another network."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from torch import nn

from sparsekit.core.prune import apply, collapsed, total_kept
from sparsekit.core.types import Masks, State
from sparsekit.method.cycle import Cycle, Transform
from sparsekit.method.judge import Judge
from sparsekit.networks.network import Network, stored_network
from sparsekit.store.identity import Stage, describe, keys_in
from sparsekit.store.store import Store
from sparsekit.store.tensors import Part, load_network, save_network
from sparsekit.system.files import write_measured

TRANSFORMED_VERSION = 2


def transform_for_fits(
    cycle: Cycle, pruned: Sequence[str], *, judge: Judge, store: Store
) -> tuple[str, ...]:
    """Transform the pruned networks that the fits of a cycle train; return their keys.

    Without a transformation, the keys of the pruned ones. ValueError for weights or masks that do
    not fit the network that the transformation returns.
    """
    if cycle.transform is None:
        return tuple(pruned)
    return tuple(_transformed(cycle.transform, key, judge=judge, store=store) for key in pruned)


def _transformed(transform: Transform, pruned: str, *, judge: Judge, store: Store) -> str:
    config = {"transform": transform, "problem": judge.identity}
    inputs = dict.fromkeys((pruned, *keys_in(describe(transform))))
    stage = Stage("transformed", config, inputs=tuple(inputs), version=TRANSFORMED_VERSION)

    def compute(folder: Path) -> None:
        network = stored_network(store, pruned)
        state, masks = load_network(store, pruned)
        probe = judge.on(network).probe(state)
        after, weights, kept = transform(network, state, masks, probe)
        model = after.loaded(weights)
        _check_masks(model, kept)
        metrics = {
            **store.read(pruned, "metrics.json"),
            "validation": judge.on(after).validate(apply(weights, kept)),
            "collapsed": collapsed(kept),
            "num_kept": total_kept(kept),
            "transform": _compared(network, state, after, model),
        }
        save_network(folder, state=weights, masks=kept, network=after.record())
        write_measured(folder / "metrics.json", metrics)

    return store.ensure(stage, compute)


def in_network_of(weights: str, source: str, store: Store) -> tuple[Network, Part]:
    """Return the weights of one stage in the form of the network of another, and that network.

    Masks are those of `source`, whose network may have been transformed since the weights to
    rewind to, or others drawn anew, were made. These are carried through what was done since: each
    recorded transformation rebuilds the network with them. The key itself if there were none.
    ValueError if the two do not descend from one network.
    """
    mine, its = stored_network(store, weights), stored_network(store, source)
    if mine.transforms == its.transforms:
        return mine, weights
    num_done = len(mine.transforms)
    grown = dataclasses.replace(mine, transforms=its.transforms, original=its.original)
    shared = its.transforms[:num_done]
    if shared != mine.transforms or dataclasses.replace(grown, seed=its.seed) != its:
        raise ValueError(
            f"{weights} and {source} are different networks: weights of the one cannot be trained "
            "under the masks of the other"
        )
    state, _ = load_network(store, weights)
    model = grown.replayed(mine.loaded(state), since=num_done)
    return grown, {name: tensor.detach() for name, tensor in model.state_dict().items()}


def _check_masks(model: nn.Module, masks: Masks) -> None:
    parameters = dict(model.named_parameters())
    for name, mask in masks.items():
        if name not in parameters or parameters[name].shape != mask.shape:
            fits = ", ".join(f"{n} {list(p.shape)}" for n, p in parameters.items())
            raise ValueError(
                f"the transformation returned a mask {name!r} {list(mask.shape)}; the network it "
                f"returned has {fits}"
            )


def _compared(network: Network, state: State, after: Network, model: nn.Module) -> dict[str, Any]:
    """Say how many parameters there were and are, and what the transformation notes."""
    before = network.loaded(state)
    new = after.transforms[len(network.transforms) :]
    return {
        "num_parameters_before": sum(one.numel() for one in before.parameters()),
        "num_parameters": sum(one.numel() for one in model.parameters()),
        "notes": [record["notes"] for record in new],
    }
