"""Random inputs of the shapes that matter: images, labels, masks."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from sparsekit.core.types import Masks
from sparsekit.data.augment import random_crop, random_flip
from sparsekit.data.memory import InMemory, Split
from sparsekit.models.prunable import prunable

MEAN, STD = (0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)
NUM_CLASSES = 10
NUM_VAL = 64


def random_images(num: int, image_shape: Sequence[int], *, seed: int) -> Split:
    """Images uint8 and labels int64, uniform."""
    generator = torch.Generator().manual_seed(seed)
    images = torch.randint(256, (num, *image_shape), generator=generator, dtype=torch.uint8)
    return Split(images, torch.randint(NUM_CLASSES, (num,), generator=generator))


def random_data(root: Path, *, image_shape: Sequence[int], num_train: int) -> InMemory:
    """A data set of random images, cropped and flipped if they are in colour.

    `root` is where the builders of real data sets look for files.
    """
    num_channels = image_shape[0]
    return InMemory(
        name="random",
        num_classes=NUM_CLASSES,
        train=random_images(num_train, image_shape, seed=0),
        val=random_images(NUM_VAL, image_shape, seed=1),
        test=random_images(NUM_VAL, image_shape, seed=2),
        mean=MEAN[:num_channels],
        std=STD[:num_channels],
        augment=(random_crop, random_flip) if num_channels == 3 else (),
    )


def random_masks(model: nn.Module, *, density: float, seed: int = 0) -> Masks:
    """Masks of the prunable weights that keep each weight with probability `density`."""
    generator = torch.Generator().manual_seed(seed)
    weights = dict(model.named_parameters())
    return {
        name: torch.rand(weights[name].shape, generator=generator) < density
        for name in prunable(model)
    }


def random_batches(
    num: int, batch_size: int, image_shape: Sequence[int]
) -> list[tuple[Tensor, Tensor]]:
    """Batches float32 and labels, normal and uniform, the same at every call."""
    generator = torch.Generator().manual_seed(0)
    return [
        (
            torch.randn(batch_size, *image_shape, generator=generator),
            torch.randint(NUM_CLASSES, (batch_size,), generator=generator),
        )
        for _ in range(num)
    ]
