"""A network on disk: weights and masks in safetensors, or the key of the stage that holds them."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save_file
from torch import Tensor

from sparsekit.store.parts import PARTS_FILE, STORED_PARTS, find_part
from sparsekit.store.sealing import CorruptResult
from sparsekit.store.store import Store
from sparsekit.system.files import write_json

MASK_HISTORY = "topology.json"
NETWORK = "network.json"
REFUSED = re.compile(r"(?:os error|code:) (\d+)")
Part = Mapping[str, Tensor] | str


def save_network(folder: Path, *, state: Part, masks: Part, network: Mapping[str, Any]) -> None:
    """Write a network into a work folder: weights, masks, and how it is built (`network.json`).

    A key in the place of tensors says "the same as in that stage".

    The order of the names is written as well: safetensors keeps none, and ties between layers are
    settled by the order of the network.
    """
    parts: dict[str, dict[str, object]] = {}
    for name, part in zip(STORED_PARTS, (state, masks), strict=True):
        if isinstance(part, str):
            parts[name] = {"stage": part}
        else:
            parts[name] = {"names": list(part)}
            save_tensors(part, folder / f"{name}.safetensors")
    write_json(folder / NETWORK, network)
    write_json(folder / PARTS_FILE, parts)


def load_network(store: Store, key: str) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Load state and masks of a stage, on the CPU, in two new dictionaries, in the network's order.

    The weights of a `pruned` stage are not yet masked: they are those of the stage it refers to.
    Raises CorruptResult for a file that is not what was published.
    """
    state, masks = (_load_part(store, key, name) for name in STORED_PARTS)
    for name, mask in masks.items():
        if mask.dtype != torch.bool or (name in state and mask.shape != state[name].shape):
            what = f"{tuple(mask.shape)}, {str(mask.dtype).removeprefix('torch.')}"
            raise CorruptResult(f"{key}: what it holds as the mask of {name!r} is none: {what}")
    return state, masks


def load_tensors(store: Store, key: str, file: str, names: Sequence[str]) -> dict[str, Tensor]:
    """Load tensors of a file of a stage, on the CPU, in the order of `names`.

    Raises CorruptResult for a file that is not what was published, or does not hold them.
    """
    try:
        tensors = load(store.content(key, file))
        return {tensor: tensors[tensor] for tensor in names}
    except (SafetensorError, KeyError, TypeError, RuntimeError) as error:  # by torch, of the shapes
        raise CorruptResult(f"{key}: {file} does not hold what it should: {error}") from error


def _load_part(store: Store, key: str, name: str) -> dict[str, Tensor]:
    key, names = find_part(store, key, name)
    return load_tensors(store, key, f"{name}.safetensors", names)


def save_tensors(tensors: Mapping[str, Tensor], path: Path) -> None:
    """Write tensors into a file that whoever may read its neighbours may read too."""
    # safetensors puts a private file in the place of this one, which has what the umask gives.
    path.touch()
    permissions = stat.S_IMODE(path.stat().st_mode)
    try:
        save_file(_contiguous(tensors), path)
    except SafetensorError as error:
        path.unlink(missing_ok=True)
        number = REFUSED.search(str(error))
        if number is None:
            raise
        raise OSError(int(number[1]), os.strerror(int(number[1])), str(path)) from error
    path.chmod(permissions)


def _contiguous(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    # Cloned: tied parameters share storage, which safetensors refuses to write twice.
    return {name: tensor.detach().cpu().contiguous().clone() for name, tensor in tensors.items()}
