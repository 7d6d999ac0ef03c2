"""CIFAR-10 and CIFAR-100 (Krizhevsky 2009), from the original batches or from image folders."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch

from sparsekit.data.augment import random_crop, random_flip
from sparsekit.data.folder_in_memory import image_folder_in_memory
from sparsekit.data.memory import InMemory, Split, held_out
from sparsekit.data.types import Augment


@dataclass(frozen=True)
class _Source:
    """Where a set is looked for below the root, and its numbers.

    mean, std: of the original training pixels, per channel, scaled to 0 .. 1.
    """

    name: Literal["cifar10", "cifar100"]
    batches: str
    num_classes: int
    mean: tuple[float, float, float]
    std: tuple[float, float, float]


_CIFAR10 = _Source(
    "cifar10", "cifar-10-batches-py", 10, (0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)
)
_CIFAR100 = _Source(
    "cifar100", "cifar-100-python", 100, (0.5071, 0.4865, 0.4409), (0.2673, 0.2564, 0.2762)
)


def cifar10(
    root: Path,
    *,
    num_val: int = 5000,
    split_seed: int = 42,
    augment: Sequence[Augment] = (random_crop, random_flip),
) -> InMemory:
    """Read 50,000 + 10,000 RGB images of 32x32 pixels in 10 classes.

    From root/cifar-10-batches-py (the original Python batches, checked by torchvision) or else from
    root/cifar10/{train,test}/<class>/<image>. Augmented by a crop from 4 pixels of black padding
    and a flip. Mean (0.4914, 0.4822, 0.4465), standard deviation (0.2470, 0.2435, 0.2616).
    """
    return _cifar(root, _CIFAR10, num_val=num_val, split_seed=split_seed, augment=augment)


def cifar100(
    root: Path,
    *,
    num_val: int = 5000,
    split_seed: int = 42,
    augment: Sequence[Augment] = (random_crop, random_flip),
) -> InMemory:
    """Read 50,000 + 10,000 RGB images of 32x32 pixels in 100 classes.

    From root/cifar-100-python or else from root/cifar100/{train,test}/<class>/<image>, as CIFAR-10.
    Mean (0.5071, 0.4865, 0.4409), standard deviation (0.2673, 0.2564, 0.2762).
    """
    return _cifar(root, _CIFAR100, num_val=num_val, split_seed=split_seed, augment=augment)


def _cifar(
    root: Path, source: _Source, *, num_val: int, split_seed: int, augment: Sequence[Augment]
) -> InMemory:
    if (root / source.batches).is_dir():
        train = _read_batches(root, source, train=True)
        train, val = held_out(train, num_val=num_val, seed=split_seed)
        return InMemory(
            name=source.name,
            num_classes=source.num_classes,
            train=train,
            val=val,
            test=_read_batches(root, source, train=False),
            mean=source.mean,
            std=source.std,
            augment=tuple(augment),
        )
    if not (root / source.name).is_dir():
        raise FileNotFoundError(
            f"{source.name} is neither in {root / source.batches} (the original Python batches) "
            f"nor in {root / source.name}/{{train,test}}/<class>/<image>. Unpack it there or point "
            "the data root to the directory that holds it; nothing is downloaded."
        )
    data = image_folder_in_memory(
        root,
        path=source.name,
        num_val=num_val,
        split_seed=split_seed,
        mean=source.mean,
        std=source.std,
        augment=augment,
    )
    if data.num_classes != source.num_classes:
        raise ValueError(
            f"{root / source.name} holds {data.num_classes} classes, {source.name} has "
            f"{source.num_classes}"
        )
    return data


def _read_batches(root: Path, source: _Source, *, train: bool) -> Split:
    """Read a split by torchvision, which unpickles only files whose MD5 sums it knows."""
    from torchvision import datasets

    readers: dict[str, Any] = {"cifar10": datasets.CIFAR10, "cifar100": datasets.CIFAR100}
    try:
        content = readers[source.name](str(root), train=train, download=False)
    except (RuntimeError, OSError) as error:
        raise ValueError(
            f"{root / source.batches} is not the complete original {source.name}: {error}"
        ) from error
    images = torch.from_numpy(content.data).permute(0, 3, 1, 2).contiguous()
    return Split(images, torch.tensor(content.targets))
