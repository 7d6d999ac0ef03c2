"""One network at one batch size: every way is made, checked against dense, and timed in turns."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from sparsekit.bench.ways import (
    BASELINES,
    DENSE,
    OURS,
    Run,
    Subject,
    Unavailable,
    converted,
    sparse,
)
from sparsekit.bench.work import work_for, work_of
from sparsekit.data.batches import call, num_examples
from sparsekit.exports.convert import Conversion
from sparsekit.measuring.limits import Limit, Speeds, limit, multiplying_speed, reading_speed
from sparsekit.measuring.timing import (
    Clock,
    Spread,
    clock_for,
    faster,
    interleave,
    quickest,
    repeated,
    spread,
)
from sparsekit.models.examples import tensors_in

TOLERANCES = {torch.float32: 1e-3, torch.bfloat16: 3e-2}
"""So much of the largest output may a way's outputs differ from those of the dense network."""


@dataclass(frozen=True)
class Compared:
    """Seconds of each way in each round, the least that hardware allows, and what cannot be had."""

    batch_size: int
    times: Mapping[str, Sequence[float]]
    limits: Mapping[str, Limit]
    refused: Mapping[str, str]
    conversion: Conversion

    @property
    def best_dense(self) -> str | None:
        """Return the fastest of the ways that multiply by all weights, None without any."""
        return quickest(self.times, DENSE)

    def seconds(self, way: str) -> Spread:
        """Return the spread of a way's times."""
        return spread(self.times[way])

    def speedup(self, way: str) -> Spread | None:
        """Return how many times as fast a way is as the best dense one, None without one."""
        best = self.best_dense
        return None if best is None else faster(self.times, way, best)


def compare(subject: Subject, against: Sequence[str], *, rounds: int) -> Compared:
    """Measure our network and those of `against`; ValueError for one that cannot be converted."""
    clock = clock_for(subject.threads)
    with torch.inference_mode(), using_threads(subject.threads):
        conversion = converted(subject, "measured")
        runs, refused = _runs(subject, against, conversion)
        times = interleave(
            {name: repeated(run, clock) for name, run in runs.items()}, rounds=rounds
        )
        limits = _limits(subject, list(times), clock)
    return Compared(num_examples(subject.inputs), times, limits, refused, conversion)


def _runs(
    subject: Subject, against: Sequence[str], conversion: Conversion
) -> tuple[dict[str, Run], dict[str, str]]:
    runs: dict[str, Run] = {}
    refused: dict[str, str] = {}
    expected = call(subject.dense, subject.inputs)
    for name in against:
        try:
            run = _baseline(name, subject)
            _require_same(run(), expected, TOLERANCES[torch.float32])
            runs[name] = run
        except Unavailable as error:
            refused[name] = str(error)
    ours = sparse(subject, conversion)
    _require_same(ours(), expected, TOLERANCES[subject.dtype])
    return {**runs, OURS: ours}, refused


def _baseline(name: str, subject: Subject) -> Run:
    if name == "csr":
        return BASELINES[name](subject, converted(subject, "sparse"))
    return BASELINES[name](subject)


def _require_same(found: Any, expected: Any, tolerance: float) -> None:
    """Refuse a way that computes something else: its time would say nothing."""
    pairs = list(zip(tensors_in(found), tensors_in(expected), strict=True))
    largest = max((float(one.abs().max()) for _, one in pairs), default=0.0)
    apart = max((float((one - other).abs().max()) for one, other in pairs), default=0.0)
    if not apart <= tolerance * largest:
        raise Unavailable(f"its outputs differ by {apart:.2g}, the largest is {largest:.2g}")


def _limits(subject: Subject, names: Sequence[str], clock: Clock) -> dict[str, Limit]:
    work = work_of(subject)
    peak = multiplying_speed(clock)
    found = {}
    for name in names:
        its = work_for(name, work)
        found[name] = limit(its, Speeds(reading_speed(its.num_bytes, clock), peak))
    return found


@contextlib.contextmanager
def using_threads(number: int) -> Iterator[None]:
    """Let PyTorch use so many threads of the CPU in this block."""
    before = torch.get_num_threads()
    torch.set_num_threads(number)
    try:
        yield
    finally:
        torch.set_num_threads(before)
