"""A ticket on disk: weights and masks in safetensors, or the key of the stage that holds them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from safetensors.torch import load, save_file
from torch import Tensor

from sparsekit.execution.store import Store, write_json

PARTS = ("state", "masks")
Part = Mapping[str, Tensor] | str


def save_ticket(folder: Path, *, state: Part, masks: Part) -> None:
    """Write `state` and `masks` into a work folder; a key says "the same as in that stage"."""
    references = {}
    for name, part in zip(PARTS, (state, masks), strict=True):
        if isinstance(part, str):
            references[name] = part
        else:
            save_file(_contiguous(part), folder / f"{name}.safetensors")
    write_json(folder / "references.json", references)


def load_ticket(store: Store, key: str) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """State and masks of a stage, on the CPU, in two new dictionaries.

    The weights of a start are not yet masked: they are those of the stage it refers to.
    Raises CorruptResult for a file that is not what was published.
    """
    state, masks = (_load_part(store, key, name) for name in PARTS)
    return state, masks


def _load_part(store: Store, key: str, name: str) -> dict[str, Tensor]:
    while name in (references := store.read(key, "references.json")):
        key = references[name]
    return load(store.content(key, f"{name}.safetensors"))


def _contiguous(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    # Cloned: tied parameters share storage, which safetensors refuses to write twice.
    return {name: tensor.detach().cpu().contiguous().clone() for name, tensor in tensors.items()}
