"""Image sets too large for memory, such as ImageNet: decoded by worker processes as they go."""

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import Dataset

from sparsekit.data.folders import Listing, list_splits
from sparsekit.data.images import read_image, read_pixels
from sparsekit.data.loading import Sample, loaded
from sparsekit.data.order import global_batches, hashed_seed, rank_slice
from sparsekit.data.splits import split_indices
from sparsekit.data.types import SplitName

Reader = Callable[[Path], Tensor]
"""Reads one image from a file, uint8 [H, W, C]; what is random in it draws from PyTorch."""


def image_folder(
    root: Path,
    *,
    path: str,
    image_size: int = 224,
    train_folder: str = "train",
    val_folder: str | None = None,
    test_folder: str = "test",
    num_val: int | None = None,
    split_seed: int = 42,
    mean: Sequence[float] = (0.485, 0.456, 0.406),
    std: Sequence[float] = (0.229, 0.224, 0.225),
    rand_augment: int | None = None,
    resize: Literal["torch"] | None = None,
    num_workers: int = 4,
) -> "ImageFolder":
    """Read RGB images from root/path/<split>/<class>/<image>, from disk for every batch.

    Training images: a random resized crop of `image_size` pixels and a flip, then RandAugment of
    magnitude `rand_augment` unless that is None. Evaluation: the shorter side to 8/7 of
    `image_size` (256 for 224), then the central square. Mean and standard deviation default to
    those of ImageNet. ImageNet's own "val" folder is what papers report, so it is the test split
    here: test_folder="val", with `num_val` training images set aside for choices.

    val_folder, num_val: where validation images come from, a folder of their own or a seeded,
        class-stratified part of the training images; exactly one of the two.
    resize: "torch" crops, resizes and augments training images as tensors, as torchvision does to
        those, and not by Pillow. It is faster; without RandAugment a few pixels in a hundred
        differ, by one of 255 levels.
    num_workers: decoding processes; the batches do not depend on it.

    Raises FileNotFoundError or ValueError, naming the place, when a folder is not as it should be.
    """
    if resize not in (None, "torch"):
        raise ValueError(f"resize={resize!r} is neither 'torch' nor None, which is Pillow's")
    splits = list_splits(
        root / path,
        train_folder=train_folder,
        val_folder=val_folder,
        test_folder=test_folder,
        num_val=num_val,
    )
    train, val = splits.train, splits.val
    if num_val is not None:
        kept, taken = split_indices(train.labels, num_val=num_val, seed=split_seed)
        train, val = train.take(kept), train.take(taken)
    assert val is not None, "list_splits lets neither both nor none of the two through"
    return ImageFolder(
        name=Path(path).name,
        train=train,
        val=val,
        test=splits.test,
        image_size=image_size,
        mean=tuple(mean),
        std=tuple(std),
        read_train=_train_reader(image_size, rand_augment, resize),
        read_eval=_eval_reader(image_size),
        num_workers=num_workers,
    )


@dataclass(frozen=True, eq=False)
class ImageFolder:
    """A `Data` that decodes its images when they are needed; see `image_folder`."""

    name: str
    train: Listing
    val: Listing
    test: Listing
    image_size: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    read_train: Reader
    read_eval: Reader
    num_workers: int

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """Channels, height, width."""
        return 3, self.image_size, self.image_size

    @property
    def num_classes(self) -> int:
        """Class folders."""
        return len(self.train.classes)

    @property
    def num_outputs(self) -> int:
        """One per class."""
        return self.num_classes

    def example(self) -> Tensor:
        """See `Data.example`: the mean image, float32 [1, C, H, W]."""
        return torch.zeros(1, *self.image_shape)

    @property
    def num_train(self) -> int:
        """Images in the training split."""
        return len(self.train)

    def train_batches(
        self,
        *,
        batch_size: int,
        seed: int,
        epoch: int,
        first: int = 0,
        rank: int = 0,
        world_size: int = 1,
        device: torch.device,
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """See `Data.train_batches`. Each process decodes its own slice only."""
        mine = rank_slice(batch_size, rank=rank, world_size=world_size)
        batches = global_batches(
            self.num_train, batch_size=batch_size, seed=seed, epoch=epoch, first=first
        )
        samples: Iterator[list[Sample]] = (
            [(index, hashed_seed("augment", seed, epoch, index)) for index in where[mine].tolist()]
            for _, where in batches
        )
        return self._batches(_Images(self.train, self.read_train), samples, device)

    def eval_batches(
        self, split: SplitName, *, batch_size: int, device: torch.device
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """See `Data.eval_batches`. Raises ValueError for an unknown or an empty split."""
        listings = {"train": self.train, "val": self.val, "test": self.test}
        if split not in listings:
            raise ValueError(f"split={split!r}: must be one of train, val, test")
        if batch_size < 1:
            raise ValueError(f"batch_size={batch_size}: must be at least 1")
        num_images = len(listings[split])
        if not num_images:
            raise ValueError(
                f"split={split!r} of {self.name} is empty: set num_{split} of the data"
            )
        samples: Iterator[list[Sample]] = (
            [(index, None) for index in range(start, min(start + batch_size, num_images))]
            for start in range(0, num_images, batch_size)
        )
        return self._batches(_Images(listings[split], self.read_eval), samples, device)

    def _batches(
        self, images: "_Images", samples: Iterator[list[Sample]], device: torch.device
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield batches normalised where they are used, brought there as a byte per number."""
        batches = loaded(images, samples, num_workers=self.num_workers, device=device)
        for pixels, labels in batches:
            yield _normalised(pixels, self.mean, self.std), labels

    def fingerprint(self) -> str:
        """Digest the relative paths and sizes of the files, split by split; no file is read."""
        digests = " ".join(split.digest() for split in (self.train, self.val, self.test))
        return hashlib.blake2b(digests.encode(), digest_size=16).hexdigest()


class _Images(Dataset[tuple[Tensor, int]]):
    """Decodes one image; what a worker process holds."""

    def __init__(self, listing: Listing, read: Reader) -> None:
        self.listing = listing
        self.read = read

    def __getitem__(self, sample: Sample) -> tuple[Tensor, int]:
        position, seed = sample
        pixels = self._read(self.listing.folder / self.listing.paths[position], seed)
        return pixels, int(self.listing.labels[position])

    def _read(self, path: Path, seed: int | None) -> Tensor:
        """Read one image; the draws follow `seed`, unless that is None.

        torchvision draws from the global generator, which is seeded for the image and then
        restored, so that the draws do not depend on the worker that happens to decode it. Not by
        `torch.manual_seed`: before CUDA is in use that notes a stack trace, half as long as
        decoding.
        """
        if seed is None:
            return self.read(path)
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(seed)
            return self.read(path)


def _train_reader(image_size: int, rand_augment: int | None, resize: str | None) -> Reader:
    from torchvision.transforms import v2

    augment = None if rand_augment is None else v2.RandAugment(magnitude=rand_augment)
    crop = v2.RandomResizedCrop(image_size)
    if resize is None:
        return partial(_read_cropped, crop=crop, augment=augment)
    return partial(
        _read_tensor, crop=crop, resize=v2.Resize((image_size, image_size)), augment=augment
    )


def _read_cropped(path: Path, *, crop: Any, augment: Any) -> Tensor:
    """Read a training image; only what the crop leaves is made an image of Pillow's again.

    The draws are those of torchvision's RandomResizedCrop and RandomHorizontalFlip, in this order.
    """
    part = _cropped(read_pixels(path), crop)
    resized = Image.fromarray(part).resize(tuple(crop.size), Image.Resampling.BILINEAR)
    if float(torch.rand(1)) < 0.5:
        resized = resized.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    return _pixels_of(resized if augment is None else augment(resized))


def _read_tensor(path: Path, *, crop: Any, resize: Any, augment: Any) -> Tensor:
    """Read a training image with the draws of `_read_cropped`, and never make it one of Pillow's.

    The crop is copied, because arrays of Pillow's may not be written to; whole rows of pixels are
    also what PyTorch resizes without a copy of its own.
    """
    part = np.array(_cropped(read_pixels(path), crop))
    resized = resize(torch.from_numpy(part).movedim(-1, 0))
    if float(torch.rand(1)) < 0.5:
        resized = resized.flip(-1)
    return (resized if augment is None else augment(resized)).movedim(0, -1)


def _cropped(pixels: "np.ndarray[Any, Any]", crop: Any) -> "np.ndarray[Any, Any]":
    like = torch.empty(3, *pixels.shape[:2], device="meta")  # its size is all that is asked for
    where = crop.make_params([like])
    top, left = where["top"], where["left"]
    return pixels[top : top + where["height"], left : left + where["width"]]


def _eval_reader(image_size: int) -> Reader:
    from torchvision.transforms import v2

    resize, crop = v2.Resize(round(image_size * 8 / 7)), v2.CenterCrop(image_size)
    return partial(_read_whole, transform=v2.Compose([resize, crop]))


def _read_whole(path: Path, *, transform: Any) -> Tensor:
    return _pixels_of(transform(read_image(path)))


def _pixels_of(image: Image.Image) -> Tensor:
    return torch.from_numpy(np.array(image))


def _normalised(pixels: Tensor, mean: Sequence[float], std: Sequence[float]) -> Tensor:
    """Return (pixel / 255 - mean) / std, float32 [B, C, H, W], of uint8 [B, H, W, C].

    Step by step as torchvision does it, with the same bits; on a CPU image by image, which its
    cache holds.
    """
    shift, scale = torch.tensor([mean, std], device=pixels.device).view(2, -1, 1, 1)
    images = torch.empty(pixels.movedim(-1, 1).shape, device=pixels.device)
    step = 1 if pixels.device.type == "cpu" else len(pixels)
    for start in range(0, len(pixels), step):
        part = pixels[start : start + step].movedim(-1, 1)
        images[start : start + step].copy_(part).mul_(1 / 255).sub_(shift).div_(scale)
    return images
