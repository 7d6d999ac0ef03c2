"""Where the weights or masks of a stage are: in it, or in another one that it names."""

from __future__ import annotations

from sparsekit.store.sealing import CorruptResult
from sparsekit.store.store import Store

STORED_PARTS = ("state", "masks")
PARTS_FILE = "parts.json"


def find_part(store: Store, key: str, name: str) -> tuple[str, list[str]]:
    """Return the stage that holds a part of a network, and the names of its tensors, in order.

    CorruptResult where stages refer to each other in a circle.
    """
    seen: list[str] = []
    while "stage" in (part := store.read(key, PARTS_FILE)[name]):
        seen.append(key)
        key = part["stage"]
        if key in seen:
            raise CorruptResult(f"{key}: {PARTS_FILE} leads back to itself by {', '.join(seen)}")
    if "names" not in part:
        raise CorruptResult(f"{key}: {PARTS_FILE} does not say where its {name} are")
    return key, part["names"]
