"""How far the outputs of two networks differ, and how long the two take."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from sparsekit.data.batches import Inputs, concatenate, num_examples, part
from sparsekit.measuring.timing import clock_for, interleave, repeated
from sparsekit.models.examples import tensors_in

ROUNDS = 11


def largest_difference(outputs: Any, expected: Any) -> float:
    """Return by how much any number of two outputs differs; inf where their forms do.

    >>> largest_difference(torch.tensor([1.0, torch.inf]), [torch.tensor([1.5, torch.inf])])
    0.5
    """
    found, wanted = tensors_in(outputs), tensors_in(expected)
    if [one.shape for one in found] != [one.shape for one in wanted]:
        return torch.inf
    pairs = zip(found, wanted, strict=True)
    return max((_difference(one.double(), other.double()) for one, other in pairs), default=0.0)


def magnitude(outputs: Any) -> float:
    """Return the largest absolute number in outputs."""
    sizes = [one.double().abs().max().item() for one in tensors_in(outputs) if one.numel()]
    return max(sizes, default=0.0)


def _difference(one: Tensor, other: Tensor) -> float:
    is_same = (one == other) | (one.isnan() & other.isnan())
    apart = (one - other).abs().masked_fill(is_same, 0.0).nan_to_num(nan=torch.inf)
    return apart.max().item() if apart.numel() else 0.0


def batch_of(inputs: Inputs, size: int) -> Inputs:
    """Return the first so many examples; fewer are repeated."""
    times = -(-size // num_examples(inputs))
    return part(concatenate([inputs] * times), 0, size)


def median_times(works: Mapping[str, Callable[[], object]], num_threads: int) -> dict[str, float]:
    """Return the median seconds that each takes, in turns; on one thread they are CPU time."""
    clock = clock_for(num_threads)
    ways = {name: repeated(work, clock) for name, work in works.items()}
    samples = interleave(ways, rounds=ROUNDS)
    return {name: statistics.median(times) for name, times in samples.items()}


@contextmanager
def threads(count: int) -> Iterator[None]:
    """Let PyTorch use so many threads of the CPU in the block."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)
