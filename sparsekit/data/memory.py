"""Data sets that fit in memory: uint8 images, gathered, augmented and normalised in batches."""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import torch
from torch import Tensor

from sparsekit.data.order import global_batches, keyed_generator, rank_slice
from sparsekit.data.splits import split_indices
from sparsekit.data.types import Augment, SplitName


@dataclass(frozen=True, eq=False)
class Split:
    """Images uint8 [N, C, H, W] and labels int64 [N].

    Raises ValueError when they are of another type or shape.
    """

    images: Tensor
    labels: Tensor

    def __post_init__(self) -> None:
        if self.images.dtype != torch.uint8 or self.images.ndim != 4:
            raise ValueError(
                "images must be uint8 [N, C, H, W], "
                f"not {self.images.dtype} {list(self.images.shape)}; pixels from 0 to 255 are "
                "scaled and normalised here, and numbers that already are belong in "
                "sparsekit.data.tensors.TensorData, which takes them as they are"
            )
        if self.labels.dtype != torch.int64 or self.labels.shape != self.images.shape[:1]:
            raise ValueError(
                f"labels must be int64 [{len(self.images)}], "
                f"not {self.labels.dtype} {list(self.labels.shape)}"
            )


def held_out(
    train: Split, *, num_val: int, seed: int, num_train: int | None = None
) -> tuple[Split, Split]:
    """Take a class-stratified validation split out of the training split: (train, val).

    Of what is left, only `num_train` images are kept, stratified too; None: all. The validation
    split is the same either way.
    """
    kept, taken = split_indices(train.labels, num_val=num_val, seed=seed)
    if num_train is not None and num_train != len(kept):
        if not 0 < num_train < len(kept):
            raise ValueError(f"num_train={num_train}: must be at least 1 and at most {len(kept)}")
        kept = kept[split_indices(train.labels[kept], num_val=num_train, seed=seed)[1]]
    return (
        Split(train.images[kept], train.labels[kept]),
        Split(train.images[taken], train.labels[taken]),
    )


def only(classes: Sequence[int], split: Split, *, num_classes: int) -> Split:
    """Keep the images of `classes`, numbered in the order given.

    ValueError for fewer than two classes, and for one that does not exist or is named twice.

    >>> split = Split(torch.zeros(4, 1, 2, 2, dtype=torch.uint8), torch.tensor([0, 1, 2, 1]))
    >>> only([2, 1], split, num_classes=3).labels.tolist()
    [1, 0, 1]
    """
    is_known = set(classes) <= set(range(num_classes))
    if len(classes) < 2 or len(set(classes)) < len(classes) or not is_known:
        raise ValueError(
            f"classes={list(classes)}: expected two or more of 0 .. {num_classes - 1}, none twice"
        )
    numbers = torch.full((num_classes,), -1)
    numbers[list(classes)] = torch.arange(len(classes))
    chosen = numbers[split.labels] >= 0
    return Split(split.images[chosen], numbers[split.labels[chosen]])


def channel_statistics(images: Tensor) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return mean and standard deviation of each channel of uint8 images, pixels scaled to 0 .. 1.

    Counted in integers, so that they do not depend on the order of a sum. A constant channel gets
    a standard deviation of one grey level.
    """
    levels = torch.arange(256, dtype=torch.float64) / 255
    means, stds = [], []
    for channel in images.unbind(dim=1):
        shares = torch.bincount(channel.flatten(), minlength=256) / channel.numel()
        mean = float((shares * levels).sum())
        variance = float((shares * (levels - mean) ** 2).sum())
        means.append(mean)
        stds.append(max(variance**0.5, 1 / 255))
    return tuple(means), tuple(stds)


@dataclass(frozen=True, eq=False)
class InMemory:
    """A `Data` whose images lie in memory and move to the training device once.

    mean, std: of each channel, with pixels scaled to 0 .. 1; a batch holds (pixel - mean) / std.
    augment: applied in turn to the uint8 images of each training batch.

    Raises ValueError when the splits do not fit together.
    """

    name: str
    num_classes: int
    train: Split
    val: Split
    test: Split
    mean: Sequence[float]
    std: Sequence[float]
    augment: Sequence[Augment] = ()
    _on_device: dict[tuple[str, torch.device], Split] = field(
        default_factory=dict, init=False, repr=False
    )
    _factors: dict[torch.device, Tensor] = field(default_factory=dict, init=False, repr=False)

    def __post_init__(self) -> None:
        if not len(self.mean) == len(self.std) == self.image_shape[0] or min(self.std) <= 0:
            raise ValueError(
                f"mean={list(self.mean)}, std={list(self.std)}: {self.name} needs "
                f"{self.image_shape[0]} of each, and std above 0"
            )
        for split in (self.train, self.val, self.test):
            if tuple(split.images.shape[1:]) != self.image_shape:
                shapes = f"{list(split.images.shape[1:])} and {list(self.image_shape)}"
                raise ValueError(f"{self.name}: images of different shapes, {shapes}")
            if ((split.labels < 0) | (split.labels >= self.num_classes)).any():
                raise ValueError(f"{self.name}: labels must lie in 0 .. {self.num_classes - 1}")

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """Channels, height, width."""
        channels, height, width = self.train.images.shape[1:]
        return channels, height, width

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
        return len(self.train.labels)

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
        """See `Data.train_batches`.

        Every process augments the whole global batch and then keeps its slice: the draws are the
        same whatever the number of processes, and an image costs microseconds.
        """
        mine = rank_slice(batch_size, rank=rank, world_size=world_size)
        batches = global_batches(
            self.num_train, batch_size=batch_size, seed=seed, epoch=epoch, first=first
        )
        return self._augmented(batches, key=("augment", seed, epoch), mine=mine, device=device)

    def eval_batches(
        self, split: SplitName, *, batch_size: int, device: torch.device
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """See `Data.eval_batches`. Raises ValueError for an unknown or an empty split."""
        chosen = self._resident(split, device)
        if batch_size < 1:
            raise ValueError(f"batch_size={batch_size}: must be at least 1")
        return (
            (
                self._normalised(chosen.images[start : start + batch_size]),
                chosen.labels[start : start + batch_size],
            )
            for start in range(0, len(chosen.labels), batch_size)
        )

    def fingerprint(self) -> str:
        """Digest the bytes of all images and labels, split by split."""
        return self._digest

    def _augmented(
        self,
        batches: Iterator[tuple[int, Tensor]],
        *,
        key: tuple[str, int, int],
        mine: slice,
        device: torch.device,
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """Gather, augment, cut to this process's slice, normalise."""
        train = self._resident("train", device)
        for index, where in batches:
            # Without augmentation nothing is drawn, and only the slice has to be gathered.
            chosen = (where if self.augment else where[mine]).to(device, non_blocking=True)
            images = train.images.index_select(0, chosen)
            labels = train.labels.index_select(0, chosen)
            if self.augment:
                generator = keyed_generator(*key, index)
                for operation in self.augment:
                    images = operation(images, generator)
                images, labels = images[mine], labels[mine]
            yield self._normalised(images), labels

    def _normalised(self, images: Tensor) -> Tensor:
        """Return float32 (pixel / 255 - mean) / std, by one multiplication and one addition."""
        if images.device not in self._factors:
            scale = [1 / (255 * std) for std in self.std]
            shift = [-mean / std for mean, std in zip(self.mean, self.std, strict=True)]
            factors = torch.tensor([scale, shift], device=images.device)
            self._factors[images.device] = factors.view(2, -1, 1, 1)
        scale, shift = self._factors[images.device]
        return images.float().mul_(scale).add_(shift)

    def _resident(self, name: SplitName, device: torch.device) -> Split:
        """Return a split on `device`; copied there on first use and kept."""
        splits = {"train": self.train, "val": self.val, "test": self.test}
        if name not in splits:
            raise ValueError(f"split={name!r}: must be one of train, val, test")
        split = splits[name]
        if not len(split.labels):
            raise ValueError(f"split={name!r} of {self.name} is empty: set num_{name} of the data")
        if split.images.device == device:
            return split
        if (name, device) not in self._on_device:
            moved = Split(split.images.to(device), split.labels.to(device))
            self._on_device[name, device] = moved
        return self._on_device[name, device]

    @cached_property
    def _digest(self) -> str:
        digest = hashlib.blake2b(digest_size=16)
        digest.update(f"{self.num_classes} {self.image_shape}".encode())
        for split in (self.train, self.val, self.test):
            digest.update(f"{len(split.labels)}".encode())
            digest.update(split.images.cpu().contiguous().numpy().data)
            digest.update(split.labels.cpu().contiguous().numpy().data)
        return digest.hexdigest()
