"""A user's own `torch.utils.data.Dataset`s as a data set of this package."""

import hashlib
import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset, IterableDataset, default_collate

from sparsekit.data.batches import Inputs, map_tensors
from sparsekit.data.loading import Sample, loaded
from sparsekit.data.order import global_batches, hashed_seed, rank_slice
from sparsekit.data.shared_memory import shared_memory
from sparsekit.data.splits import random_indices
from sparsekit.data.tensors import Examples, TensorData
from sparsekit.data.types import SplitName

READ_AS = 0
"""Seed under which the items of a set that is read once are drawn, if they draw anything."""


def torch_dataset(
    root: Path,
    *,
    name: str,
    num_outputs: int,
    train: Callable[..., Any],
    test: Callable[..., Any],
    val: Callable[..., Any] | None = None,
    num_val: int | None = None,
    split_seed: int = 42,
    with_root: bool = False,
    in_memory: bool = True,
    version: str | None = None,
    num_workers: int = 0,
) -> "TensorData | LazyData":
    """Wrap data sets with `__len__` and `__getitem__`, whose items are (inputs, target).

    train, test, val: leaves, each called once, with the data root if `with_root` (torchvision's
        sets want it, as their first argument) and else without arguments.
    val, num_val: where validation examples come from, a data set of its own or a part of the
        training set drawn by `split_seed`; exactly one of the two.
    in_memory: read every item once, before training. Otherwise items are read for every batch by
        `num_workers` processes, under a seed that depends on (seed, epoch, place in the order): all
        of torch's, NumPy's and Python's generators are set, so that augmentation is the same
        whatever the number of workers. Evaluation items are drawn under one fixed seed.
    version: identifies the content where items are read as they go; in memory their bytes do. Give
        it a new value when the data change, or results of the old would be taken for theirs.

    Inputs are a tensor, an array or a number, or a tuple or dict of them; a target one of them.
    float64 becomes float32, as networks compute.

    Raises ValueError for a set of unknown size, items of another form, and settings that do not go
    together.
    """
    if (val is None) == (num_val is None):
        raise ValueError(
            f"val={val!r}, num_val={num_val}: give exactly one of them, a data set of validation "
            "examples or how many to take out of the training set"
        )
    if not in_memory and version is None:
        raise ValueError("version=None: with in_memory=false, say what the data are, as a text")
    if in_memory and num_workers:
        raise ValueError(f"num_workers={num_workers}: only read with in_memory=false")
    arguments = (root,) if with_root else ()
    whole = _Items(_opened("train", train, arguments))
    if val is None:
        assert num_val is not None
        kept, taken = random_indices(len(whole), num_taken=num_val, seed=split_seed)
        trained, validated = whole.take(kept), whole.take(taken)
    else:
        trained, validated = whole, _Items(_opened("val", val, arguments))
    splits = (trained, validated, _Items(_opened("test", test, arguments)))
    if not in_memory:
        return LazyData(name, num_outputs, *splits, version=str(version), num_workers=num_workers)
    in_ram = [items.read() for items in splits]
    return TensorData(name, num_outputs, train=in_ram[0], val=in_ram[1], test=in_ram[2])


class _Items(Dataset[tuple[Any, Any]]):
    """The items of a data set at some positions, each under a seed; what a worker process holds."""

    def __init__(self, dataset: Any, positions: Tensor | None = None) -> None:
        self.dataset = dataset
        self.positions = torch.arange(len(dataset)) if positions is None else positions

    def __len__(self) -> int:
        return len(self.positions)

    def take(self, where: Tensor) -> "_Items":
        return _Items(self.dataset, self.positions[where])

    def __getitem__(self, sample: Sample) -> tuple[Any, Any]:
        place, seed = sample
        position = int(self.positions[place])
        with _seeded(hashed_seed("read", READ_AS, position) if seed is None else seed):
            item = self.dataset[position]
        if not isinstance(item, tuple | list) or len(item) != 2:
            kind = type(item).__name__
            size = f" of {len(item)}" if isinstance(item, tuple | list) else ""
            raise ValueError(
                f"item {position} of {type(self.dataset).__name__} is a {kind}{size}; expected "
                "(inputs, target)"
            )
        return _single(item[0]), _single(item[1])

    def read(self) -> Examples:
        """Read all of them into memory."""
        items = [self[place, None] for place in range(len(self))]
        if not items:
            raise ValueError(f"{type(self.dataset).__name__}: there are no examples in a split")
        inputs, targets = collated(items)
        if not isinstance(targets, Tensor):
            raise ValueError(
                f"targets in memory must be one tensor, not a {type(targets).__name__}"
            )
        return Examples(inputs, targets)


@dataclass(frozen=True, eq=False)
class LazyData:
    """A `Data` that reads the items of a batch when it is needed; see `torch_dataset`."""

    name: str
    num_outputs: int
    train: _Items
    val: _Items
    test: _Items
    version: str
    num_workers: int

    @property
    def num_train(self) -> int:
        """Examples in the training split."""
        return len(self.train)

    def example(self) -> Inputs:
        """See `Data.example`: the first of the training split."""
        inputs, _ = collated([self.train[0, None]])
        return inputs

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
        """See `Data.train_batches`. Each process reads its own slice only."""
        mine = rank_slice(batch_size, rank=rank, world_size=world_size)
        batches = global_batches(
            self.num_train, batch_size=batch_size, seed=seed, epoch=epoch, first=first
        )
        samples: Iterator[list[Sample]] = (
            [(place, hashed_seed("augment", seed, epoch, place)) for place in where[mine].tolist()]
            for _, where in batches
        )
        return loaded(
            self.train, samples, num_workers=self.num_workers, device=device, collate=collated
        )

    def eval_batches(
        self, split: SplitName, *, batch_size: int, device: torch.device
    ) -> Iterator[tuple[Any, Any]]:
        """See `Data.eval_batches`. Raises ValueError for an unknown or an empty split."""
        splits = {"train": self.train, "val": self.val, "test": self.test}
        if split not in splits:
            raise ValueError(f"split={split!r}: must be one of train, val, test")
        if batch_size < 1:
            raise ValueError(f"batch_size={batch_size}: must be at least 1")
        num = len(splits[split])
        if not num:
            raise ValueError(f"split={split!r} of {self.name} is empty")
        samples: Iterator[list[Sample]] = (
            [(place, None) for place in range(start, min(start + batch_size, num))]
            for start in range(0, num, batch_size)
        )
        return loaded(
            splits[split], samples, num_workers=self.num_workers, device=device, collate=collated
        )

    def fingerprint(self) -> str:
        """Digest the version and which items are in which split; no item is read."""
        digest = hashlib.blake2b(self.version.encode(), digest_size=16)
        for split in (self.train, self.val, self.test):
            digest.update(f"{len(split)}".encode())
            digest.update(split.positions.numpy().data)
        return digest.hexdigest()


def collated(items: list[tuple[Any, Any]]) -> tuple[Any, Any]:
    """Join items into one batch.

    Raises ValueError where their shapes differ or they hold anything but numbers, such as images.
    """
    try:
        with shared_memory():
            inputs, targets = default_collate(items)
        return _tree(inputs), _tree(targets)
    except (TypeError, ValueError, RuntimeError) as error:
        raise ValueError(
            f"items cannot be joined into a batch: {error}. Inputs and targets must be tensors, "
            "arrays or numbers of one shape; images need a transform such as ToTensor"
        ) from error


def _tree(value: Any) -> Inputs:
    """Refuse what holds anything but tensors; a list becomes a tuple."""
    return map_tensors(value, lambda tensor: tensor)


def _opened(name: str, leaf: Any, arguments: tuple[Path, ...]) -> Any:
    """Call a leaf; refuse a data set without a length, and one that cannot be indexed."""
    dataset: Any = leaf if isinstance(leaf, Dataset) else leaf(*arguments)
    if isinstance(dataset, IterableDataset):
        raise ValueError(
            f"{name}: {type(dataset).__name__} is an IterableDataset; the order of examples must "
            "be a function of the seed, which needs `__len__` and `__getitem__`"
        )
    try:
        len(dataset)
    except (TypeError, NotImplementedError) as error:
        raise ValueError(
            f"{name}: {type(dataset).__name__} does not say how many items it has: {error}"
        ) from error
    return dataset


def _single(value: Any) -> Any:
    """Return an array or a number as a tensor, float64 as float32."""
    if isinstance(value, dict):
        return {key: _single(one) for key, one in value.items()}
    if isinstance(value, tuple | list):
        return tuple(_single(one) for one in value)
    if not isinstance(value, Tensor | np.ndarray | np.generic | int | float):
        return value  # refused where it is joined with others
    tensor = torch.as_tensor(value)
    return tensor.float() if tensor.dtype == torch.float64 else tensor


@contextmanager
def _seeded(seed: int) -> Iterator[None]:
    """Set the generators an item may draw from, and put them back.

    Not by `torch.manual_seed`, which would also set those of GPUs, and notes a stack trace.
    """
    python, numpy = random.getstate(), np.random.get_state()
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        random.seed(seed)
        np.random.seed(seed % 2**32)
        try:
            yield
        finally:
            random.setstate(python)
            np.random.set_state(numpy)
