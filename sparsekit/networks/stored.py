"""Stored networks as plain modules, and their masks: `sparsekit.load` and `sparsekit.masks`.

Those of a store, and those that were exported as weights and masks.

Neither data set nor Lightning is needed. Nothing is unpickled: weights are safetensors, the rest is
JSON. But network.json names its builder by import path, and that builder is called.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, cast

from torch import Tensor, nn

from sparsekit.configuration.signatures import imported
from sparsekit.core.prune import apply
from sparsekit.core.types import Masks, State
from sparsekit.inference.files import DamagedExport
from sparsekit.inference.manifest import is_export, open_export
from sparsekit.inference.reading import weights
from sparsekit.models.tied import load_state_, under_every_name
from sparsekit.networks.network import Network, network_of, stored_network
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

BUILDERS = ("sparsekit.models.", "sparsekit.networks.")
"""What is called for an export, which anyone may have written."""


def load(
    reference: Reference, *, store: str | Path | None = None, cycle: int | None = None
) -> nn.Module:
    """Return a stored network as a plain module: on the CPU, in eval mode, 0 where pruned.

    `reference`: the key of a stage (`ticket-...`), looked up in `store`, else in $SPARSEKIT_STORE,
    else in `runs`; the folder of a stage; a record below named/ (its last result, or that of
    `cycle`); a row of `sparsekit.results`; or the folder of an export that holds weights and masks.

    What is read is verified: CorruptResult for a damaged file. LookupError for an unknown key and
    for a builder that cannot be imported, FileNotFoundError for what is not there, ValueError for
    a stage without a network and for weights that do not fit what the builder makes today. A
    builder whose code was edited since is a warning.
    """
    network, state, masks, key = read(reference, store=store, cycle=cycle)
    return loaded(network, apply(state, masks), key)


def masks(
    reference: Reference, *, store: str | Path | None = None, cycle: int | None = None
) -> dict[str, Tensor]:
    """Return the masks of a stored network, boolean tensors by parameter name: True is kept.

    A tied weight has its mask under each of its names. Parameters without a mask are not prunable.
    Arguments and errors are those of `load`.
    """
    network, state, found, key = read(reference, store=store, cycle=cycle)
    return under_every_name(loaded(network, state, key), found)


def read(
    reference: Reference, *, store: str | Path | None = None, cycle: int | None = None
) -> tuple[Network, State, Masks, str]:
    """Return how a stored network is built, its weights, not yet masked, its masks, and its key.

    Nothing is built. Arguments and errors are those of `load`.
    """
    if exported(reference):
        return _read_export(Path(cast(str, reference)).expanduser(), store=store, cycle=cycle)
    there, key = locate(reference, store=store, cycle=cycle)
    _require_network(there, key)
    network = stored_network(there, key)
    _check_code(network, key)
    return network, *load_network(there, key), key


def exported(reference: Reference) -> bool:
    """Say whether it is the folder of an export that is named."""
    return isinstance(reference, str | Path) and is_export(Path(reference).expanduser())


def _read_export(folder: Path, **given: Any) -> tuple[Network, State, Masks, str]:
    for name, value in given.items():
        if value is not None:
            raise ValueError(f"{name}={value!r} means nothing for {folder}, which is an export")
    state, masks = weights(folder)
    export = open_export(folder)
    record = export.json(NETWORK)
    try:
        network = network_of(record)
    except (ValueError, TypeError) as error:
        raise DamagedExport(f"{folder / NETWORK}: {error}") from error
    for leaf in _leaves(record):
        if not str(leaf["_target_"]).startswith(BUILDERS):
            raise ValueError(
                f"{folder}: {leaf['_target_']} is not of sparsekit, and what came as files is not "
                "called: build the module yourself and load what "
                "sparsekit.inference.reading.weights returns"
            )
    key = str(export.manifest["source"])
    _check_code(network, key)
    return network, state, masks, key


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


def loaded(network: Network, state: State, key: str) -> nn.Module:
    """Return the module of a stored network, in eval mode; ValueError where they do not fit."""
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
