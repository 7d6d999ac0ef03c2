"""The order of training images and the seeds of their augmentation: functions, without history."""

import hashlib
from collections.abc import Iterator

import torch
from torch import Tensor


def hashed_seed(*key: int | str) -> int:
    """Hash a key to a 63-bit seed, the same on every machine and in every process.

    Hashing keeps the streams of neighbouring keys, such as epochs 1 and 2, independent.

    >>> hashed_seed("order", 0, 1) == hashed_seed("order", 0, 1) != hashed_seed("order", 1, 0)
    True
    """
    text = "|".join(map(str, key)).encode()
    return int.from_bytes(hashlib.blake2b(text, digest_size=8).digest(), "little") >> 1


def keyed_generator(*key: int | str) -> torch.Generator:
    """Return a CPU generator seeded by `hashed_seed`; every device then sees the same stream."""
    return torch.Generator().manual_seed(hashed_seed(*key))


def epoch_order(num: int, *, seed: int, epoch: int) -> Tensor:
    """Return a permutation of 0 .. num - 1, int64 [num], that depends on (seed, epoch) alone."""
    return torch.randperm(num, generator=keyed_generator("order", seed, epoch))


def global_batches(
    num: int, *, batch_size: int, seed: int, epoch: int, first: int = 0
) -> Iterator[tuple[int, Tensor]]:
    """Yield (batch index, image indices int64 [batch_size]) of each full batch from `first` on.

    Raises ValueError when there is not one full batch or `first` lies outside the epoch.
    """
    if not 1 <= batch_size <= num:
        raise ValueError(f"batch_size={batch_size}: must be between 1 and {num}, the images there")
    num_batches = num // batch_size
    if not 0 <= first <= num_batches:
        raise ValueError(f"first={first}: an epoch has {num_batches} batches of {batch_size}")
    order = epoch_order(num, seed=seed, epoch=epoch)
    return (
        (index, order[index * batch_size : (index + 1) * batch_size])
        for index in range(first, num_batches)
    )


def rank_slice(batch_size: int, *, rank: int, world_size: int) -> slice:
    """Return the part of a global batch that process `rank` of `world_size` works on.

    >>> rank_slice(128, rank=1, world_size=4)
    slice(32, 64, None)

    Raises ValueError unless the batch divides evenly and 0 <= rank < world_size.
    """
    if world_size < 1 or batch_size % world_size:
        raise ValueError(f"batch_size={batch_size}: must be divisible by world_size={world_size}")
    if not 0 <= rank < world_size:
        raise ValueError(f"rank={rank}: must be between 0 and {world_size - 1}")
    share = batch_size // world_size
    return slice(rank * share, (rank + 1) * share)
