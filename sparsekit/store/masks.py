"""The masks of a stage as arrays of NumPy, for readers that have no use for PyTorch."""

from __future__ import annotations

from typing import Any

from safetensors import SafetensorError
from safetensors.numpy import load

from sparsekit.store.parts import find_part
from sparsekit.store.sealing import CorruptResult
from sparsekit.store.store import Store


def read_masks(store: Store, key: str) -> dict[str, Any]:
    """Read the masks of a stage by the names of their parameters, in the network's order.

    Raises CorruptResult for a file that is not what was published, or holds no masks.
    """
    key, names = find_part(store, key, "masks")
    try:
        arrays = load(store.content(key, "masks.safetensors"))
        masks = {name: arrays[name] for name in names}
    except (SafetensorError, KeyError, TypeError, ValueError) as error:
        message = f"{key}: masks.safetensors does not hold what it should: {error}"
        raise CorruptResult(message) from error
    for name, mask in masks.items():
        if mask.dtype != bool:
            raise CorruptResult(f"{key}: what it holds as the mask of {name!r} is {mask.dtype}")
    return masks
