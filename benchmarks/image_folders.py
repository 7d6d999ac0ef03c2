"""Images per second of JPEGs on disk, ours and torchvision's: `python -m benchmarks.image_folders`.

A folder of JPEGs as ImageNet's: 500x400 pixels, quality 90, smooth structure of every scale and the
noise of a sensor. Both decode, crop at random and resize to 224, flip and normalise, and deliver
shuffled float32 batches of 32. Everything happens in this process, so that images per second are
per core; one sample is one epoch. Ours resizes by Pillow, or by PyTorch where that is asked for
(`resize: torch`). torchvision reads by Pillow, with its transforms for tensors at the end (v1, as
in its reference training) or version 2 of them.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader
from torchvision import datasets, transforms
from torchvision.transforms import v2

from benchmarks import timing
from sparsekit.data import images as reading
from sparsekit.data.image_folder import ImageFolder, image_folder

BATCH_SIZE, NUM_CLASSES = 32, 2
NUM_IMAGES, NUM_QUICK = 32 * 8, 32
HEIGHT, WIDTH, QUALITY, GRAIN = 400, 500, 90, 14  # about 90 kB a file; ImageNet's have 110
OURS, OURS_PILLOW, OURS_TORCH = "ours", "ours, without simplejpeg", "ours, resized by PyTorch"
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
TARGET = 1.5


def picture(generator: np.random.Generator) -> Image.Image:
    """Noise of every scale, the coarser the stronger, and grain."""
    total = np.zeros((HEIGHT, WIDTH, 3))
    for scale in (2, 4, 8, 16, 32, 64, 128):
        coarse = generator.integers(0, 256, (HEIGHT // scale + 2, WIDTH // scale + 2, 3), np.uint8)
        smooth = Image.fromarray(coarse).resize((WIDTH, HEIGHT), Image.Resampling.BICUBIC)
        total += np.asarray(smooth) * scale**0.7
    total = 255 * (total - total.min()) / (total.max() - total.min())
    grain = generator.normal(0, GRAIN, total.shape)
    return Image.fromarray((total + grain).clip(0, 255).astype(np.uint8))


def write_folder(root: Path, num_images: int) -> float:
    """Write `num_images` for training and as many classes for testing; mean bytes of a file."""
    generator = np.random.default_rng(0)
    for split, num in (("train", num_images), ("test", NUM_CLASSES)):
        for index in range(num):
            folder = root / "pictures" / split / f"class{index % NUM_CLASSES}"
            folder.mkdir(parents=True, exist_ok=True)
            picture(generator).save(folder / f"{index:05d}.jpg", quality=QUALITY)
    sizes = [file.stat().st_size for file in (root / "pictures" / "train").rglob("*.jpg")]
    return sum(sizes) / len(sizes)


def consume(batches: Iterable[tuple[Tensor, Tensor]], num_images: int) -> None:
    """Take all batches and check that they are what was asked for."""
    sizes = [len(images) for images, _ in batches if images.shape[1:] == (3, 224, 224)]
    assert sum(sizes) == num_images


def ours(data: ImageFolder, epochs: Iterable[int], *, fast: bool) -> None:
    """One epoch of the shipped data set, with simplejpeg or with Pillow alone."""
    found = reading._jpeg_decoder
    if not fast:
        reading._jpeg_decoder = lambda: None  # type: ignore[assignment]
    try:
        epoch = next(iter(epochs))
        batches = data.train_batches(
            batch_size=BATCH_SIZE, seed=0, epoch=epoch, device=torch.device("cpu")
        )
        consume(batches, data.num_train)
    finally:
        reading._jpeg_decoder = found


def loader(folder: Path, transform: Callable[[Image.Image], Tensor]) -> DataLoader:
    """torchvision's data set of a folder, in this process."""
    dataset = datasets.ImageFolder(str(folder), transform)
    return DataLoader(dataset, batch_size=BATCH_SIZE, shuffle=True)


def ways(root: Path) -> tuple[dict[str, Callable[[], object]], int]:
    """One epoch of each, and the images in it."""
    open_folder = partial(image_folder, root, path="pictures", val_folder="test", num_workers=0)
    data, resized = open_folder(), open_folder(resize="torch")
    epochs = iter(range(1_000_000))
    first = transforms.Compose(
        [
            transforms.RandomResizedCrop(224),
            transforms.RandomHorizontalFlip(),
            transforms.ToTensor(),
            transforms.Normalize(MEAN, STD),
        ]
    )
    second = v2.Compose(
        [
            v2.RandomResizedCrop(224),
            v2.RandomHorizontalFlip(),
            v2.ToImage(),
            v2.ToDtype(torch.float32, scale=True),
            v2.Normalize(MEAN, STD),
        ]
    )
    train = root / "pictures" / "train"
    theirs = {"v1": loader(train, first), "v2": loader(train, second)}
    return {
        OURS: partial(ours, data, epochs, fast=True),
        OURS_PILLOW: partial(ours, data, epochs, fast=False),
        OURS_TORCH: partial(ours, resized, epochs, fast=True),
        **{
            f"torchvision, {n}": partial(consume, one, len(one.dataset))
            for n, one in theirs.items()
        },
    }, data.num_train


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure one epoch of each, interleaved."""
    options = timing.read_options(__doc__ or "", arguments, rounds=9, clocks=("wall", "cpu"))
    with tempfile.TemporaryDirectory() as folder:
        size = write_folder(Path(folder), NUM_QUICK if options.quick else NUM_IMAGES)
        found, num_images = ways(Path(folder))
        timed = {name: timing.timed(way, options.clock) for name, way in found.items()}
        times = timing.interleave(timed, rounds=options.rounds)
    rates = {name: num_images / timing.spread(taken).median for name, taken in times.items()}
    body = [[*row, f"{rates[row[0]]:,.0f}"] for row in timing.rows(times, base=OURS)]
    verdicts = [
        timing.at_least(f"{name} / {way}", timing.paired(times, name, way), TARGET)
        for way in (OURS_TORCH, OURS)
        for name in times
        if name.startswith("torchvision")
    ]
    parts = [
        f"One epoch of {num_images:,} JPEGs of {WIDTH}x{HEIGHT}, {size:,.0f} bytes each; random "
        f"resized crop to 224, flip, normalise; batch {BATCH_SIZE}.",
        timing.markdown((*timing.HEAD, "images/s"), body),
        "\n".join(verdicts),
    ]
    timing.report("Image folders", parts, options)
    return 0


if __name__ == "__main__":
    sys.exit(main())
