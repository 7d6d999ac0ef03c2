"""What a fit writes about its masks: their means over training and, if they moved, each update."""

from __future__ import annotations

from pathlib import Path

from sparsekit.core.layout import outputs_first
from sparsekit.core.structure import emptied_neurons
from sparsekit.store.tensors import MASK_HISTORY
from sparsekit.system.files import write_json
from sparsekit.training.masking import Masking

MASK_UPDATES = "updates.json"


def write_mask_history(folder: Path, masking: Masking, *, num_snapshots: int) -> None:
    """Write what became of the masks of a fit; where they moved, `updates.json` as well.

    That has, of each update, the number of `steps` before it, the weights `kept` since, and how
    many were `dropped` and `grown`: together the Hamming distance of the two masks. And of each
    layer what became of its `neurons`, see `emptied_neurons`.
    """
    history = masking.mask_history
    write_json(folder / MASK_HISTORY, {**history.summary(), "num_snapshots": num_snapshots})
    if history.updates:
        columns = map(list, zip(*history.updates, strict=True))
        named = dict(zip(("steps", "kept", "dropped", "grown"), columns, strict=True))
        ends = (
            outputs_first(masks, masking.transposed) for masks in (history.first, history.masks)
        )
        write_json(folder / MASK_UPDATES, {**named, "neurons": emptied_neurons(*ends)})
