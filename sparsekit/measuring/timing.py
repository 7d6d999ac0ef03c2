"""Times of several ways of doing one thing, on a machine that others use too.

All ways run in one process, one after the other, round by round (A B C A B C ...), so that what
slows the machine slows all of them. With one thread the CPU time of that thread is counted, which
does not grow while others have the processor; with several it is wall time.
"""

from __future__ import annotations

import dataclasses
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from typing import TypeVar

import torch

Clock = Callable[[], float]
Sample = TypeVar("Sample")
SAMPLE = 0.002
"""Seconds that a sample takes at least: a clock's own call is then nothing beside it."""


@dataclasses.dataclass(frozen=True)
class Spread:
    """Median, middle half (quartiles) and range of some numbers."""

    median: float
    lower: float
    upper: float
    lowest: float
    highest: float


def spread(values: Sequence[float]) -> Spread:
    """Return the spread of at least one number."""
    quartiles = statistics.quantiles(values, n=4, method="inclusive") if len(values) > 1 else None
    lower, median, upper = quartiles or (values[0],) * 3
    return Spread(median, lower, upper, min(values), max(values))


def clock_for(threads: int, device: str = "cpu") -> Clock:
    """Return the clock for work on so many threads, or on a GPU: seconds since some moment."""
    if device == "cpu":
        return time.thread_time if threads == 1 else time.perf_counter
    return _after_the_gpu


def _after_the_gpu() -> float:
    torch.cuda.synchronize()
    return time.perf_counter()


def timed(work: Callable[[], object], clock: Clock, calls: int = 1) -> Callable[[], float]:
    """Return a way that does `work` so many times and returns how many seconds one took."""

    def way() -> float:
        started = clock()
        for _ in range(calls):
            work()
        return (clock() - started) / calls

    return way


def repeated(
    work: Callable[[], object], clock: Clock, seconds: float = SAMPLE
) -> Callable[[], float]:
    """Return `timed` work, as often as to take `seconds`, and called once before each sample.

    The call before brings back to the caches what the other ways have driven out. Work that takes
    ten samples' time by itself is not repeated: it drives that out as well.
    """
    work()
    once = min(timed(work, clock)() for _ in range(2))
    if once > 10 * seconds:
        return timed(work, clock)
    sample = timed(work, clock, max(1, round(seconds / max(once, 1e-7))))

    def way() -> float:
        work()
        return sample()

    return way


def interleave(
    ways: Mapping[str, Callable[[], Sample]], *, rounds: int, warm_up: int = 1
) -> dict[str, list[Sample]]:
    """Return what each way returned in each round; in a round every way has its turn, in order."""
    samples: dict[str, list[Sample]] = {name: [] for name in ways}
    for turn in range(-warm_up, rounds):
        for name, way in ways.items():
            sample = way()
            if turn >= 0:
                samples[name].append(sample)
    return samples


def faster(times: Mapping[str, Sequence[float]], way: str, than: str) -> Spread:
    """Return how many times as fast `way` is as `than`, each ratio taken within one round."""
    return spread([b / a for a, b in zip(times[way], times[than], strict=True)])


def quickest(times: Mapping[str, Sequence[float]], names: Sequence[str]) -> str | None:
    """Return which of `names` has the lowest median, None if none was measured."""
    there = [name for name in names if name in times]
    return min(there, key=lambda name: statistics.median(times[name]), default=None)
