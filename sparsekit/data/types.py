"""What the rest of the program may ask of a data set."""

from collections.abc import Callable, Iterator
from typing import Literal, Protocol

import torch
from torch import Tensor

SplitName = Literal["train", "val", "test"]

Augment = Callable[[Tensor, torch.Generator], Tensor]
"""(images uint8 [B, C, H, W], CPU generator) -> images of the same shape, drawn per image."""


class Data(Protocol):
    """Images with labels in three splits: train, validation (for choices) and test (for reports).

    A batch is (images float32 [B, C, H, W], normalised; labels int64 [B]), both on `device`.
    """

    @property
    def name(self) -> str:
        """The name of the data set, for tables and file names."""
        ...

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """Channels, height, width of an image in a batch."""
        ...

    @property
    def num_classes(self) -> int:
        """Labels lie in 0 .. num_classes - 1."""
        ...

    @property
    def num_train(self) -> int:
        """Images in the training split."""
        ...

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
        """Shuffled, augmented training batches of one epoch, from batch `first` on.

        `batch_size` is the global one: each of `world_size` processes gets its slice of every
        batch. An epoch has num_train // batch_size batches; the incomplete last one is dropped.
        The order depends on (seed, epoch) alone and the augmentation of an image on nothing but
        its place in that order, so starting at `first` gives the same batches as skipping there.
        """
        ...

    def eval_batches(
        self, split: SplitName, *, batch_size: int, device: torch.device
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """All images of a split, in fixed order, not augmented; the last batch may be short."""
        ...

    def fingerprint(self) -> str:
        """Hex digest of the images, labels and splits; not of the options that process them."""
        ...
