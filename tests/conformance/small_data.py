"""Small files in the layouts of the real data sets, for tests that must not need the real ones."""

from __future__ import annotations

import gzip
import struct
from pathlib import Path

import numpy as np
from PIL import Image

NUM_CLASSES = 10


def write_mnist(root: Path, *, num_train: int = 160, num_test: int = 20) -> None:
    """IDX files, gzipped, in root/MNIST/raw."""
    folder = root / "MNIST" / "raw"
    folder.mkdir(parents=True)
    for prefix, number in (("train", num_train), ("t10k", num_test)):
        images = _pixels(number, 28, 28)
        labels = (np.arange(number) % NUM_CLASSES).astype(np.uint8)
        header = struct.pack(">IIII", 2051, number, 28, 28)
        _write(folder / f"{prefix}-images-idx3-ubyte.gz", header + images.tobytes())
        header = struct.pack(">II", 2049, number)
        _write(folder / f"{prefix}-labels-idx1-ubyte.gz", header + labels.tobytes())


def write_cifar10(root: Path, *, per_class: int = 6) -> None:
    """An image folder in root/cifar10/{train,test}/CLASS/."""
    for split in ("train", "test"):
        for label in range(NUM_CLASSES):
            folder = root / "cifar10" / split / f"class{label}"
            folder.mkdir(parents=True)
            for number, image in enumerate(_pixels(per_class, 32, 32, 3)):
                Image.fromarray(image).save(folder / f"{number:04d}.png")


def _pixels(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)


def _write(path: Path, content: bytes) -> None:
    path.write_bytes(gzip.compress(content))
