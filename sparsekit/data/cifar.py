"""CIFAR-10 and CIFAR-100 (Krizhevsky 2009), from the original batches or from image folders."""

import hashlib
import pickle
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch

from sparsekit.data.augment import random_crop, random_flip
from sparsekit.data.folder_in_memory import image_folder_in_memory
from sparsekit.data.memory import InMemory, Split, held_out
from sparsekit.data.opening import opened
from sparsekit.data.types import Augment


@dataclass(frozen=True)
class _Source:
    """Where a set is looked for below the root, and its numbers.

    mean, std: of the original training pixels, per channel, scaled to 0 .. 1. labels: how the
    original batches call them.
    """

    name: Literal["cifar10", "cifar100"]
    batches: str
    num_classes: int
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    labels: str = "labels"


_CIFAR10 = _Source(
    "cifar10", "cifar-10-batches-py", 10, (0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)
)
_CIFAR100 = _Source(
    "cifar100",
    "cifar-100-python",
    100,
    (0.5071, 0.4865, 0.4409),
    (0.2673, 0.2564, 0.2762),
    labels="fine_labels",
)
_MOST_BYTES = 2**28  # of a file of batches; the largest original has 148 MiB


def cifar10(
    root: Path,
    *,
    num_val: int = 5000,
    split_seed: int = 42,
    augment: Sequence[Augment] = (random_crop, random_flip),
) -> InMemory:
    """Read 50,000 + 10,000 RGB images of 32x32 pixels in 10 classes.

    Read from root/cifar-10-batches-py (the original Python batches, by their MD5 sums) or
    else from root/cifar10/{train,test}/<class>/<image>. Augmented by a crop from 4 pixels of black
    padding and a flip. Mean (0.4914, 0.4822, 0.4465), standard deviation (0.2470, 0.2435, 0.2616).
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

    Read from root/cifar-100-python or else from root/cifar100/{train,test}/<class>/<image>, as
    CIFAR-10. Mean (0.5071, 0.4865, 0.4409), standard deviation (0.2673, 0.2564, 0.2762).
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
    """Read the files that torchvision knows by name and MD5 sum; no others are unpickled."""
    from torchvision import datasets

    known: dict[str, Any] = {"cifar10": datasets.CIFAR10, "cifar100": datasets.CIFAR100}
    files = known[source.name].train_list if train else known[source.name].test_list
    batches = [_unpickled(root / source.batches / name, md5=md5, of=source) for name, md5 in files]
    pixels = np.concatenate([batch["data"] for batch in batches]).reshape(-1, 3, 32, 32)
    labels = [label for batch in batches for label in batch[source.labels]]
    return Split(torch.from_numpy(pixels), torch.tensor(labels))


def _unpickled(path: Path, *, md5: str, of: _Source) -> dict[str, Any]:
    """Unpickle an original file: the very bytes whose sum is known."""
    try:
        with opened(path, most=_MOST_BYTES) as file:
            content = file.read()
    except FileNotFoundError as error:
        raise ValueError(
            f"{path.parent} is not the complete original {of.name}: {path.name} is missing"
        ) from error
    found = hashlib.md5(content, usedforsecurity=False).hexdigest()
    if found != md5:
        raise ValueError(f"{path} is not of the original {of.name}: its MD5 sum is not {md5}")
    batch: dict[str, Any] = pickle.loads(content, encoding="latin1")
    return batch
