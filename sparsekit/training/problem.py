"""The task of a run: which model, on which data, and which of its weights may be pruned."""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from sparsekit.configuration import config
from sparsekit.core.seeds import derive
from sparsekit.core.types import Masks, State
from sparsekit.data.types import Data
from sparsekit.store.identity import Stage, canonical
from sparsekit.store.store import Store, write_json
from sparsekit.store.tensors import save_network

INIT_VERSION = 1
FINGERPRINT = "data_fingerprint.json"
PARTS = ("model", "data", "prunable")
Task = Mapping[str, Any]


def load_data(task: Task, root: Path) -> Data:
    """The data set of a task, loaded once per process."""
    return _cached_data(canonical(task["data"]), root)


def build_model(task: Task, data: Data) -> nn.Module:
    """A fresh model for the images and classes of `data`, with weights drawn anew."""
    model = config.build(task["model"])(data.image_shape, data.num_classes)
    if not isinstance(model, nn.Module):
        raise TypeError(f"{task['model']['_target_']} returned {type(model).__name__}, no Module")
    return model


def loaded_model(task: Task, data: Data, state: State) -> nn.Module:
    """The model of a task with given weights; draws no random numbers that outlive the call."""
    with torch.random.fork_rng():
        model = build_model(task, data)
    model.load_state_dict(state)
    return model


def dense_masks(task: Task, model: nn.Module) -> Masks:
    """All-true masks of the weights that may be pruned."""
    names = config.build(task["prunable"])(model)
    parameters = dict(model.named_parameters())
    return {name: torch.ones(parameters[name].shape, dtype=torch.bool) for name in names}


def init_seed(seed: int, again: int) -> int:
    """Seed of the initial weights of a run; of others, where they are drawn `again`."""
    return derive(seed, "again", again) if again else seed


def init_stage(task: Task, seed: int) -> Stage:
    """Identity of the initial weights."""
    return Stage("init", {"task": task, "seed": seed}, version=INIT_VERSION)


def ensure_init(task: Task, seed: int, *, store: Store, root: Path) -> str:
    """Key of the initial weights, a function of task and seed, with nothing pruned.

    Where the data lies is not part of any identity, so what it holds is remembered here:
    ValueError if it is not what earlier results of this task were computed on.
    """
    stage = init_stage(task, seed)
    data = load_data(task, root)

    def compute(folder: Path) -> None:
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            model = build_model(task, data)
        save_network(folder, state=model.state_dict(), masks=dense_masks(task, model))
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
