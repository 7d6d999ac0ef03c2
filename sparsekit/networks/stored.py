"""Stored networks as plain modules, and their masks: `sparsekit.load` and `sparsekit.masks`.

Neither data set nor Lightning is needed. Nothing is unpickled: weights are safetensors, the rest is
JSON. But network.json names its builder by import path, and that builder is called.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from sparsekit.configuration.signatures import imported
from sparsekit.core.prune import apply
from sparsekit.core.types import Masks, State
from sparsekit.models.tied import load_state_, under_every_name
from sparsekit.networks.network import Network, stored_network
from sparsekit.store.references import Reference, locate
from sparsekit.store.source import SOURCE, source_digest
from sparsekit.store.store import Store
from sparsekit.store.tensors import NETWORK, load_network

ABOUT_NETWORKS = {
    "study": "a study",
    "comparison": "a comparison",
    "outputs": "what a network answered",
}
"""Kinds of stages that are about networks, and what to call them."""


def load(
    reference: Reference, *, store: str | Path | None = None, cycle: int | None = None
) -> nn.Module:
    """Return a stored network as a plain module: on the CPU, in eval mode, 0 where pruned.

    `reference`: the key of a stage (`ticket-...`), looked up in `store`, else in $SPARSEKIT_STORE,
    else in `runs`; the folder of a stage; a record below named/ (its last result, or that of
    `cycle`); or a row of `sparsekit.results`.

    What is read is verified: CorruptResult for a damaged file. LookupError for an unknown key and
    for a builder that cannot be imported, FileNotFoundError for what is not there, ValueError for
    a stage without a network and for weights that do not fit what the builder makes today. A
    builder whose code was edited since is a warning.
    """
    network, state, masks, key = _read(reference, store=store, cycle=cycle)
    return _loaded(network, apply(state, masks), key)


def masks(
    reference: Reference, *, store: str | Path | None = None, cycle: int | None = None
) -> dict[str, Tensor]:
    """Return the masks of a stored network, boolean tensors by parameter name: True is kept.

    A tied weight has its mask under each of its names. Parameters without a mask are not prunable.
    Arguments and errors are those of `load`.
    """
    network, state, found, key = _read(reference, store=store, cycle=cycle)
    return under_every_name(_loaded(network, state, key), found)


def _read(
    reference: Reference, *, store: str | Path | None, cycle: int | None
) -> tuple[Network, State, Masks, str]:
    there, key = locate(reference, store=store, cycle=cycle)
    _require_network(there, key)
    network = stored_network(there, key)
    _check_code(network, key)
    return network, *load_network(there, key), key


def _require_network(store: Store, key: str) -> None:
    """Refuse a stage without a network, naming those it was made of."""
    description = store.description(key)
    if NETWORK in description["files"]:
        return
    if description["kind"] in ABOUT_NETWORKS:
        others = ", ".join(description["inputs"])
        what = ABOUT_NETWORKS[description["kind"]]
        raise ValueError(f"{key} is {what} and holds no network; it is about {others}")
    raise ValueError(
        f"{key} holds no {NETWORK}: an older release wrote it. Build the module yourself and load "
        f"what sparsekit.store.tensors.load_network returns"
    )


def _loaded(network: Network, state: State, key: str) -> nn.Module:
    model = _built(network, key)
    try:
        load_state_(model, state)
    except RuntimeError as error:
        builder = network.model["_target_"]
        raise ValueError(
            f"{key}: its weights do not fit what {builder} builds today: {error}"
        ) from error
    return model.eval()


def _built(network: Network, key: str) -> nn.Module:
    try:
        return network.build()
    except Exception as error:
        builder = network.model["_target_"]
        raise ValueError(f"{key}: {builder} no longer builds its network: {error}") from error


def _check_code(network: Network, key: str) -> None:
    """Refuse functions that cannot be imported; warn of those that were edited since."""
    for leaf in _leaves([network.model, *network.transforms]):
        target = leaf["_target_"]
        try:
            function = imported(target)
        except LookupError as error:
            raise LookupError(
                f"{key}: {error.args[0]}; modules of your own must be found on sys.path, as in "
                f"the run"
            ) from error
        if SOURCE in leaf and source_digest(function) != leaf[SOURCE]:
            warnings.warn(
                f"{key}: the code of {target} was edited since; its network may be another one",
                stacklevel=4,
            )


def _leaves(value: Any) -> Iterator[Mapping[str, Any]]:
    """Yield what has a `_target_` in described data, however deep."""
    entries: Any = ()
    if isinstance(value, Mapping):
        entries = value.values()
        if "_target_" in value:
            yield value
    elif isinstance(value, list | tuple):
        entries = value
    for entry in entries:
        yield from _leaves(entry)
