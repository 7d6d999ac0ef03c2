"""MNIST and Fashion-MNIST from their four IDX files."""

from collections.abc import Sequence
from pathlib import Path

from sparsekit.data.idx import read_idx
from sparsekit.data.memory import InMemory, Split, held_out
from sparsekit.data.types import Augment

NUM_CLASSES = 10


def mnist(
    root: Path,
    *,
    num_val: int = 5000,
    num_train: int | None = None,
    split_seed: int = 42,
    augment: Sequence[Augment] = (),
) -> InMemory:
    """Read 60,000 + 10,000 grey digits of 28x28 pixels; files in root/MNIST/raw, gzipped or not.

    num_train: trained on only so many, for experiments on a CPU; None: on all that are not held
        out for validation.

    Mean 0.1307 and standard deviation 0.3081, those of the training pixels.
    """
    return _idx_images(
        root / "MNIST" / "raw",
        name="mnist",
        num_val=num_val,
        num_train=num_train,
        split_seed=split_seed,
        mean=0.1307,
        std=0.3081,
        augment=augment,
    )


def fashion_mnist(
    root: Path, *, num_val: int = 5000, split_seed: int = 42, augment: Sequence[Augment] = ()
) -> InMemory:
    """Read 60,000 + 10,000 grey pictures of clothes, 28x28 (Xiao et al. 2017, arXiv 1708.07747).

    Files in root/FashionMNIST/raw, gzipped or not. Mean 0.2860 and standard deviation 0.3530,
    those of the training pixels.
    """
    return _idx_images(
        root / "FashionMNIST" / "raw",
        name="fashion_mnist",
        num_val=num_val,
        split_seed=split_seed,
        mean=0.2860,
        std=0.3530,
        augment=augment,
    )


def _idx_images(
    folder: Path,
    *,
    name: str,
    num_val: int,
    split_seed: int,
    mean: float,
    std: float,
    augment: Sequence[Augment],
    num_train: int | None = None,
) -> InMemory:
    """Read both splits of an MNIST-like set, with a validation split taken out of the first."""
    everything = _read_split(folder, "train", name=name)
    train, val = held_out(everything, num_val=num_val, seed=split_seed, num_train=num_train)
    test = _read_split(folder, "t10k", name=name)
    return InMemory(
        name, NUM_CLASSES, train, val, test, mean=(mean,), std=(std,), augment=tuple(augment)
    )


def _read_split(folder: Path, prefix: str, *, name: str) -> Split:
    """Read one pair of image and label files, "train" or "t10k"."""
    try:
        images = read_idx(folder / f"{prefix}-images-idx3-ubyte")
        labels = read_idx(folder / f"{prefix}-labels-idx1-ubyte")
    except FileNotFoundError as error:
        raise FileNotFoundError(
            f"{name} is not complete: {error}. Put the four IDX files (train and t10k, images and "
            f"labels, gzipped or not) into {folder}, or point the data root to the directory that "
            f"holds {folder.parent.name}; nothing is downloaded."
        ) from error
    if images.ndim != 3:
        raise ValueError(f"{folder}: {prefix} images have shape {list(images.shape)}, not [N,H,W]")
    if labels.shape != images.shape[:1] or int(labels.max()) >= NUM_CLASSES:
        raise ValueError(
            f"{folder}: {prefix} labels have shape {list(labels.shape)} and the largest is "
            f"{int(labels.max())}; expected one of 0 .. {NUM_CLASSES - 1} for each of "
            f"{len(images)} images"
        )
    return Split(images.unsqueeze(1), labels.long())
