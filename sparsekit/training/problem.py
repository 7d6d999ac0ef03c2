"""The problem of a run: which model learns which task on which data, and what may be pruned."""

from __future__ import annotations

import functools
import json
from pathlib import Path

import torch
from torch import nn

from sparsekit.configuration import config
from sparsekit.core.fit_spec import Problem
from sparsekit.core.seeds import derive
from sparsekit.core.types import Masks
from sparsekit.data.types import Data
from sparsekit.networks.network import Network, describe_inputs
from sparsekit.store.identity import Stage, canonical, describe
from sparsekit.store.store import Store, write_json
from sparsekit.store.tensors import save_network

INIT_VERSION = 2
FINGERPRINT = "data_fingerprint.json"
PARTS = ("task", "model", "data", "prunable")


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


def init_stage(problem: Problem, seed: int) -> Stage:
    """Return the identity of the initial weights."""
    return Stage("init", {"problem": problem, "seed": seed}, version=INIT_VERSION)


def ensure_init(problem: Problem, seed: int, *, store: Store, root: Path) -> str:
    """Return the key of the initial weights, a function of problem and seed, with nothing pruned.

    Where the data lies is not part of any identity, so what it holds is remembered here:
    ValueError if it is not what earlier results of this problem were computed on.
    """
    stage = init_stage(problem, seed)
    data = load_data(problem, root)

    def compute(folder: Path) -> None:
        network = initial_network(problem, data, seed)
        model = network.build()
        masks = dense_masks(problem, model, data)
        save_network(folder, state=model.state_dict(), masks=masks, network=network.record())
        write_json(folder / FINGERPRINT, data.fingerprint())

    key = store.ensure(stage, compute)
    if store.read(key, FINGERPRINT) != data.fingerprint():
        raise ValueError(
            f"{data.name} below {root} is not the data that the results in {store.root} were "
            "computed on; restore it, or use another runtime.store"
        )
    return key


@functools.lru_cache(maxsize=2)
def _cached_data(description: str, root: Path) -> Data:
    data: Data = config.build(json.loads(description))(root)
    return data
