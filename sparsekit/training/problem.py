"""The problem of a run: which model learns which task on which data, and what may be pruned."""

from __future__ import annotations

import functools
import json
from collections.abc import Callable
from pathlib import Path

import torch
from torch import nn

from sparsekit.configuration import config
from sparsekit.core.fit_spec import Problem
from sparsekit.core.seeds import derive
from sparsekit.core.types import Masks, State
from sparsekit.data.types import Data
from sparsekit.networks.network import Network, describe_inputs
from sparsekit.networks.sources import redrawn
from sparsekit.store.identity import Stage, canonical, describe, keys_in
from sparsekit.store.sealing import checksum
from sparsekit.store.store import Store
from sparsekit.store.tensors import save_network
from sparsekit.system.files import write_json

INIT_VERSION = 2
FINGERPRINT = "data_fingerprint.json"
SOURCE = "source.json"
Source = Callable[..., tuple[Network, State, Masks]]
"""(wanted network, store) -> network, weights and masks to start from."""

PROBLEM_PARTS = ("task", "model", "data", "prunable")


def load_data(problem: Problem, root: Path) -> Data:
    """Return the data set of a problem, loaded once per process."""
    return _cached_data(canonical(describe(problem.data)), root)


def initial_network(problem: Problem, data: Data, seed: int) -> Network:
    """Return the network of a problem whose weights, and all else it draws, `seed` decides."""
    inputs = describe_inputs(data.example())
    return Network(describe(problem.model), inputs, data.num_outputs, seed)


def dense_masks(problem: Problem, model: nn.Module, data: Data) -> Masks:
    """Return all-true masks of the weights that may be pruned."""
    names = problem.prunable(model, data.example())
    parameters = dict(model.named_parameters())
    return {name: torch.ones(parameters[name].shape, dtype=torch.bool) for name in names}


def init_seed(seed: int, again: int) -> int:
    """Return the seed of the initial weights of a run; of others, where they are drawn `again`."""
    return derive(seed, "again", again) if again else seed


def init_stage(problem: Problem, seed: int, source: Source | None = None, again: int = 0) -> Stage:
    """Return the identity of the weights a run starts from; of others drawn `again` in their place.

    Without a `source` the two differ in the seed alone.
    """
    drawn = init_seed(seed, again)
    config = {"problem": problem, "seed": drawn, "source": source}
    if source is not None and again:
        config["again"] = again
    inputs = tuple(keys_in(describe(source)))
    return Stage("init", config, inputs=inputs, version=INIT_VERSION)


def ensure_init(
    problem: Problem,
    seed: int,
    *,
    store: Store,
    root: Path,
    source: Source | None = None,
    again: int = 0,
) -> str:
    """Return the key of what a run starts from: weights drawn under its seed, or a `source`.

    Those of a source come with its masks, the rest dense. Drawn `again`, weights are those of a
    fresh network in either case. Where data and files lie is part of no identity, or says nothing
    about what they hold, so that is remembered here: ValueError if it is not what earlier results
    of this problem were computed on.
    """
    stage = init_stage(problem, seed, source, again)
    data = load_data(problem, root)

    def compute(folder: Path) -> None:
        network, state, masks = first_network(
            problem, data, seed, store=store, source=source, again=again
        )
        save_network(folder, state=state, masks=masks, network=network.record())
        write_json(folder / FINGERPRINT, data.fingerprint())
        if source is not None:
            write_json(folder / SOURCE, {"sha256": _digest(source)})

    key = store.ensure(stage, compute)
    if store.read(key, FINGERPRINT) != data.fingerprint():
        raise ValueError(
            f"{data.name} below {root} is not the data that the results in {store.root} were "
            "computed on; restore it, or use another runtime.store"
        )
    if source is not None and _digest(source) not in (None, store.read(key, SOURCE)["sha256"]):
        raise ValueError(
            f"source.path={_path(source)} is not the file that the results in {store.root} started "
            "from; restore it, or give the new one another name"
        )
    return key


def first_network(
    problem: Problem,
    data: Data,
    seed: int,
    *,
    store: Store,
    source: Source | None = None,
    again: int = 0,
) -> tuple[Network, State, Masks]:
    """Return what a run starts from, as `ensure_init` stores it; ValueError for a `source` that
    does not fit the problem."""
    drawn, pruned = init_seed(seed, again), dict[str, torch.Tensor]()
    if source is None:
        network = initial_network(problem, data, drawn)
        state = network.build().state_dict()
    else:
        network, state, pruned = source(initial_network(problem, data, seed), store)
        if again:
            network, state = redrawn(network, drawn)
    model = network.loaded(state)
    return network, state, {**dense_masks(problem, model, data), **pruned}


def _path(source: Source | None) -> Path | None:
    path = describe(source).get("path") if source is not None else None
    return None if path is None else Path(path).expanduser()


def _digest(source: Source | None) -> str | None:
    """Return the SHA-256 of the file of a source; None if it has none, or none any more."""
    path = _path(source)
    return checksum(path.resolve()) if path is not None and path.is_file() else None


@functools.lru_cache(maxsize=2)
def _cached_data(description: str, root: Path) -> Data:
    data: Data = config.build(json.loads(description))(root)
    return data
