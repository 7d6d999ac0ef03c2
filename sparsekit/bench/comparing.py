"""One network at one batch size: every way is made, checked against dense, and timed in turns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch

from sparsekit.bench.profile import seconds_by_operation
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
from sparsekit.data.batches import call, num_examples, tensors_of
from sparsekit.exports.comparing import largest_difference, magnitude, threads
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

TOLERANCES = {torch.float32: 1e-3, torch.bfloat16: 3e-2}
"""So much of the largest output may a way's outputs differ from those of the dense network."""


@dataclass(frozen=True)
class Compared:
    """Seconds of each way in each round, the least that hardware allows, and what cannot be had.

    `operations`: seconds of ours by kind of operation.
    """

    batch_size: int
    times: Mapping[str, Sequence[float]]
    limits: Mapping[str, Limit]
    refused: Mapping[str, str]
    conversion: Conversion
    operations: Mapping[str, float]

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
    with torch.inference_mode(), threads(subject.threads):
        conversion = converted(subject, "measured")
        runs, refused = _runs(subject, against, conversion)
        times = interleave(
            {name: repeated(run, clock) for name, run in runs.items()}, rounds=rounds
        )
        limits = _limits(subject, list(times), clock)
        given = tuple(tensors_of(subject.inputs))
        operations = seconds_by_operation(conversion.graph, given, clock)
    batch_size = num_examples(subject.inputs)
    return Compared(batch_size, times, limits, refused, conversion, operations)


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
        exact = replace(subject, dtype=torch.float32)
        return BASELINES[name](exact, converted(exact, "sparse"))
    return BASELINES[name](subject)


def _require_same(found: Any, expected: Any, tolerance: float) -> None:
    """Refuse a way that computes something else: its time would say nothing."""
    apart, largest = largest_difference(found, expected), magnitude(expected)
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
