"""Pictures of masks, made without PyTorch: how dense each part of a layer is."""

from __future__ import annotations

from typing import Any

import numpy as np

from sparsekit.store.masks import read_masks
from sparsekit.store.store import Store

MOST_LAYERS, SIDE = 24, 64


def mask_pictures(store: Store, ticket: str) -> dict[str, Any]:
    """Return a grey picture for each layer of a ticket: white where every weight is kept.

    Rows are outputs, columns inputs; blocks of them where there are more than 64.
    """
    masks = list(read_masks(store, ticket).items())[:MOST_LAYERS]
    return {name: square(np.rint(255 * densities(mask))) for name, mask in masks}


def densities(mask: Any) -> Any:
    """Average a mask over blocks, at most 64 along each side.

    >>> densities(np.array([[True, False], [True, True]])).tolist()
    [[1.0, 0.0], [1.0, 1.0]]
    >>> densities(np.arange(128 * 2).reshape(128, 2) < 128)[31:33].tolist()
    [[1.0, 1.0], [0.0, 0.0]]
    """
    flat = mask.reshape(len(mask), -1).astype(float) if mask.ndim else mask.reshape(1, 1)
    for axis in (0, 1):
        edges = np.linspace(0, flat.shape[axis], min(SIDE, flat.shape[axis]) + 1).astype(int)
        sums = np.add.reduceat(flat, edges[:-1], axis=axis)
        sizes = np.diff(edges)
        flat = sums / (sizes[:, None] if axis == 0 else sizes)
    return flat


def square(picture: Any) -> Any:
    """Stretch a picture to the one size that all have, as wandb wants those of a row."""
    down, across = (np.arange(SIDE) * size // SIDE for size in picture.shape)
    return picture[down][:, across].astype(np.uint8)
