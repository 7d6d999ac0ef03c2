"""Data sets that fit in memory and are not images: rows of numbers, tokens, several inputs."""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property

import torch
from torch import Tensor

from sparsekit.data.batches import (
    Inputs,
    input_shape,
    map_tensors,
    num_examples,
    part,
    take,
    tensors_of,
    to_device,
)
from sparsekit.data.order import global_batches, rank_slice
from sparsekit.data.types import SplitName


@dataclass(frozen=True, eq=False)
class Examples:
    """Inputs, a tensor [N, ...] or a tuple or dict of them, and targets [N, ...], ready for use.

    Raises ValueError where their numbers differ, and for float64 (networks compute in float32).
    """

    inputs: Inputs
    targets: Tensor

    def __post_init__(self) -> None:
        if num_examples(self.inputs) != num_examples(self.targets):
            raise ValueError(
                f"{num_examples(self.inputs)} inputs do not fit {num_examples(self.targets)} "
                "targets"
            )
        for one in (*tensors_of(self.inputs), self.targets):
            if one.dtype == torch.float64:
                raise ValueError("inputs or targets are float64; networks need `.float()` of them")

    def __len__(self) -> int:
        return num_examples(self.targets)


@dataclass(frozen=True, eq=False)
class TensorData:
    """A `Data` of tensors that lie in memory and move to the training device once.

    A batch holds the examples as they are: normalisation comes before (see `standardised`).
    digest: what identifies the content; computed from the tensors where it is not given. Give that
        of the raw numbers where normalisation might round differently on another machine.

    Raises ValueError when there is nothing to train on, when the splits hold examples of different
    kinds, and for numbers that are not finite.
    """

    name: str
    num_outputs: int
    train: Examples
    val: Examples
    test: Examples
    digest: str | None = None
    _on_device: dict[tuple[str, torch.device], Examples] = field(
        default_factory=dict, init=False, repr=False
    )

    def __post_init__(self) -> None:
        if not len(self.train):
            raise ValueError(f"{self.name}: the training split is empty")
        if self.num_outputs < 1:
            raise ValueError(f"num_outputs={self.num_outputs}: must be at least 1")
        for split in self._splits().values():
            tensors = (*tensors_of(split.inputs), split.targets)
            if any(one.is_floating_point() and not bool(one.isfinite().all()) for one in tensors):
                raise ValueError(f"{self.name}: inputs or targets hold numbers that are not finite")
            if _kind(split) != _kind(self.train):
                raise ValueError(
                    f"{self.name}: splits hold different examples, {_kind(self.train)} and "
                    f"{_kind(split)}"
                )

    @property
    def num_train(self) -> int:
        """Examples in the training split."""
        return len(self.train)

    def example(self) -> Inputs:
        """See `Data.example`: the first of the training split."""
        return map_tensors(part(self.train.inputs, 0, 1), lambda one: one.cpu())

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
    ) -> Iterator[tuple[Inputs, Tensor]]:
        """See `Data.train_batches`; nothing is augmented."""
        mine = rank_slice(batch_size, rank=rank, world_size=world_size)
        batches = global_batches(
            self.num_train, batch_size=batch_size, seed=seed, epoch=epoch, first=first
        )
        train = self._resident("train", device)
        places = (where[mine].to(device, non_blocking=True) for _, where in batches)
        return ((take(train.inputs, place), train.targets[place]) for place in places)

    def eval_batches(
        self, split: SplitName, *, batch_size: int, device: torch.device
    ) -> Iterator[tuple[Inputs, Tensor]]:
        """See `Data.eval_batches`. Raises ValueError for an unknown or an empty split."""
        chosen = self._resident(split, device)
        if batch_size < 1:
            raise ValueError(f"batch_size={batch_size}: must be at least 1")
        return (
            (
                part(chosen.inputs, start, start + batch_size),
                chosen.targets[start : start + batch_size],
            )
            for start in range(0, len(chosen), batch_size)
        )

    def fingerprint(self) -> str:
        """See `Data.fingerprint`."""
        return self.digest or self._digest

    def _resident(self, name: SplitName, device: torch.device) -> Examples:
        """Return a split on `device`; copied there on first use and kept."""
        splits = self._splits()
        if name not in splits:
            raise ValueError(f"split={name!r}: must be one of train, val, test")
        split = splits[name]
        if not len(split):
            raise ValueError(f"split={name!r} of {self.name} is empty: set num_{name} of the data")
        if split.targets.device == device:
            return split
        if (name, device) not in self._on_device:
            moved = Examples(to_device(split.inputs, device), split.targets.to(device))
            self._on_device[name, device] = moved
        return self._on_device[name, device]

    @cached_property
    def _digest(self) -> str:
        return digest_of(*self._splits().values())

    def _splits(self) -> dict[str, Examples]:
        return {"train": self.train, "val": self.val, "test": self.test}


def digest_of(*splits: Examples) -> str:
    """Digest the names, types, shapes and bytes of all tensors, split by split."""
    digest = hashlib.blake2b(digest_size=16)
    for split in splits:
        names = tuple(split.inputs) if isinstance(split.inputs, dict) else ()
        digest.update(f"{names}".encode())
        for one in (*tensors_of(split.inputs), split.targets):
            digest.update(f"{one.dtype} {list(one.shape)}".encode())
            digest.update(one.cpu().contiguous().flatten().view(torch.uint8).numpy().data)
    return digest.hexdigest()


def standardised(train: Tensor, *others: Tensor) -> tuple[Tensor, ...]:
    """Shift and scale each feature to mean 0 and standard deviation 1 of the training split.

    Tensors are [N, ...]; the statistics are those of `train` over its first dimension, in float64,
    and the results float32. A feature that is constant in `train` is only shifted.

    >>> [one.tolist() for one in standardised(torch.tensor([[1.0], [3.0]]), torch.tensor([[5.0]]))]
    [[[-1.0], [1.0]], [[3.0]]]
    """
    numbers = train.double()
    mean = numbers.mean(0)
    spread = numbers.std(0, correction=0)
    # A sum of equal numbers may round, so that their deviation is not exactly 0.
    constant = (numbers == numbers[:1]).all(0)
    scale = torch.where(constant, torch.ones_like(spread), spread)
    return tuple(((one.double() - mean) / scale).float() for one in (train, *others))


def _kind(split: Examples) -> str:
    """Return shapes and types of one example."""
    types = [str(one.dtype) for one in (*tensors_of(split.inputs), split.targets)]
    return f"{input_shape(split.inputs)} -> {tuple(split.targets.shape[1:])}, {', '.join(types)}"
