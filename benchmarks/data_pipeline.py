"""Images per second of our data pipeline and torchvision's: `python -m benchmarks.data_pipeline`.

Both deliver normalised float32 batches of 128 random images of CIFAR's size, shuffled, cropped at
random from a border of 4 pixels, and flipped. One sample is one epoch; worker processes are
started before it and kept.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms

from benchmarks import timing
from benchmarks.inputs import MEAN, STD, random_data
from sparsekit.data.memory import InMemory

BATCH_SIZE = 128
NUM_IMAGES, NUM_QUICK = 128 * 80, 128 * 4
OURS = "ours"
TARGET = 10.0


class Pictures(Dataset[tuple[Tensor, int]]):
    """Images as `torchvision.datasets.CIFAR10` holds and transforms them."""

    def __init__(self, data: InMemory) -> None:
        self.images = data.train.images.permute(0, 2, 3, 1).contiguous().numpy()
        self.labels = data.train.labels.tolist()
        self.transform = transforms.Compose(
            [
                transforms.RandomCrop(32, padding=4),
                transforms.RandomHorizontalFlip(),
                transforms.ToTensor(),
                transforms.Normalize(MEAN, STD),
            ]
        )

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return self.transform(Image.fromarray(self.images[index])), self.labels[index]


def consume(batches: Iterable[tuple[Tensor, Tensor]], num_images: int) -> None:
    """Take all batches and check that they are what was asked for."""
    sizes = [len(labels) for images, labels in batches if images.shape[1:] == (3, 32, 32)]
    assert sum(sizes) == num_images


def ways(data: InMemory, clock: timing.Clock) -> dict[str, Callable[[], float]]:
    """One epoch of each pipeline."""
    loaders = {
        f"torchvision, {num} workers": DataLoader(
            Pictures(data),
            batch_size=BATCH_SIZE,
            shuffle=True,
            drop_last=True,
            num_workers=num,
            persistent_workers=num > 0,
        )
        for num in (0, 2)
    }
    epochs = iter(range(1_000_000))
    cpu = torch.device("cpu")
    own = timing.timed(
        lambda: consume(
            data.train_batches(batch_size=BATCH_SIZE, seed=0, epoch=next(epochs), device=cpu),
            data.num_train,
        ),
        clock,
    )
    theirs = {
        name: timing.timed(lambda loader=loader: consume(loader, data.num_train), clock)
        for name, loader in loaders.items()
    }
    return {OURS: own, **theirs}


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure one epoch of each, interleaved."""
    options = timing.read_options(__doc__ or "", arguments, rounds=15)
    num_images = NUM_QUICK if options.quick else NUM_IMAGES
    data = random_data(Path(), image_shape=(3, 32, 32), num_train=num_images)
    times = timing.interleave(ways(data, options.clock), rounds=options.rounds)
    rates = {name: num_images / timing.spread(taken).median for name, taken in times.items()}
    body = [[*row, f"{rates[row[0]]:,.0f}"] for row in timing.rows(times, base=OURS)]
    verdicts = [
        timing.at_least(f"{name} / ours", timing.paired(times, name, OURS), TARGET)
        for name in times
        if name != OURS
    ]
    parts = [
        f"One epoch of {num_images:,} images; crop, flip, normalise; batch {BATCH_SIZE}.",
        timing.markdown((*timing.HEAD, "images/s"), body),
        "\n".join(verdicts),
    ]
    timing.report("Data pipeline", parts, options)
    return 0


if __name__ == "__main__":
    sys.exit(main())
