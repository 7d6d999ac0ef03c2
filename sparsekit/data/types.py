"""What the rest of the program may ask of a data set."""

from collections.abc import Callable, Iterator
from typing import Any, Literal, Protocol

import torch
from torch import Tensor

from sparsekit.data.batches import Inputs

SplitName = Literal["train", "val", "test"]

Augment = Callable[[Tensor, torch.Generator], Tensor]
"""(images uint8 [B, C, H, W], CPU generator) -> images of the same shape, drawn per image."""


class Data(Protocol):
    """Examples with targets in three splits: train, validation (for choices), test (for reports).

    A batch is (inputs, targets) on `device`. Inputs are a tensor [B, ...], or a tuple or dict of
    them, as the network is called; what targets are is between the data set and the task.
    """

    @property
    def name(self) -> str:
        """The name of the data set, for tables and file names."""
        ...

    @property
    def num_outputs(self) -> int:
        """Outputs a network needs per example or, where it has several, per position."""
        ...

    @property
    def num_train(self) -> int:
        """Examples in the training split."""
        ...

    def example(self) -> Inputs:
        """Return one example, a batch of 1 on the CPU, of the shapes and types the network gets.

        Reads no batch. Its values are valid inputs, otherwise arbitrary.
        """
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
    ) -> Iterator[tuple[Any, Any]]:
        """Yield shuffled, augmented training batches of one epoch, from batch `first` on.

        `batch_size` is the global one: each of `world_size` processes gets its slice of every
        batch. An epoch has num_train // batch_size batches; the incomplete last one is dropped.
        The order depends on (seed, epoch) alone and the augmentation of an example on nothing but
        its place in that order, so starting at `first` gives the same batches as skipping there.
        """
        ...

    def eval_batches(
        self, split: SplitName, *, batch_size: int, device: torch.device
    ) -> Iterator[tuple[Any, Any]]:
        """Yield all examples of a split, in order, not augmented; the last batch may be short."""
        ...

    def fingerprint(self) -> str:
        """Return a hex digest of the examples and splits; not of the options that process them."""
        ...
