"""What is shown as media of wandb: the table of a ticket's layers, its masks, a run's curve."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from PIL.Image import open as open_picture

from sparsekit.mirror.pictures import mask_pictures
from sparsekit.mirror.rows import TABLE, layer_table
from sparsekit.report.collect import collect
from sparsekit.report.plots import plot_each
from sparsekit.store.store import Store


def media_of(wandb: Any, store: Store, ticket: str) -> dict[str, Any]:
    """Return table and pictures of a ticket, to be logged as they are."""
    pictures = mask_pictures(store, ticket)
    return {
        "layer_table": wandb.Table(columns=list(TABLE), data=layer_table(store, ticket)),
        "masks": [wandb.Image(one, mode="L", caption=name) for name, one in pictures.items()],
    }


def figures_of(wandb: Any, record: Path, folder: Path) -> dict[str, Any]:
    """Return the pictures that a report draws of one run, made below `folder`."""
    shown = {}
    with tempfile.TemporaryDirectory(dir=folder) as place:
        for drawn in plot_each(collect([record]), Path(place)):
            with open_picture(drawn) as picture:  # wandb reads files when they are gone
                shown[f"figure/{drawn.stem}"] = wandb.Image(picture.copy())
    return shown
