"""Results grouped into the rows of tables: what one method reached at one sparsity, per seed."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from sparsekit.report.collect import (
    Kind,
    Record,
    Result,
    kind_of,
    kind_of_result,
    seed_of,
    target_of,
)
from sparsekit.report.labels import labels_of
from sparsekit.report.reading import is_number, metric_of
from sparsekit.report.spread import Spread
from sparsekit.store.identity import KEY
from sparsekit.tasks.metric import Metric


@dataclasses.dataclass(frozen=True)
class Row:
    """All seeds of one method at one sparsity, one result of each.

    `part` tells rows of one label and sparsity apart: a run may have several cycles there, and two
    cycles of one seed are never two seeds. `unfinished` are seeds whose runs will have such a
    result when they are done.
    """

    label: str
    sparsity: float
    results: tuple[Result, ...]
    part: str = ""
    unfinished: tuple[int, ...] = ()

    @property
    def name(self) -> str:
        """The label, and which part if there are several."""
        return f"{self.label} ({self.part})" if self.part else self.label

    @property
    def metric(self) -> Metric:
        """The primary metric of the results."""
        return metric_of(self.results[0].metrics)

    def primary(self, split: str = "test") -> Spread:
        """Return the spread of the primary metric on a split."""
        return self.spread(f"{split}_{self.metric.name}")

    @property
    def quality(self) -> float:
        """The mean primary metric on the test split, as a number of which more is better; of a
        network whose outputs are not numbers, less than any other."""
        mean = self.primary().mean
        return -math.inf if math.isnan(mean) else self.metric.quality(mean)

    def spread(self, name: str) -> Spread:
        """Return the spread over the seeds of a metric that every ticket has; None stands for a
        value that is not a number."""
        values = (result.metrics[name] for result in self.results)
        return Spread.of(math.nan if value is None else float(value) for value in values)

    def known(self, name: str) -> Spread | None:
        """Return the spread of a metric that stores may lack and that may be undefined; None
        unless all seeds have it."""
        values = (result.metrics.get(name) for result in self.results)
        return Spread.of_all(value if is_number(value) else None for value in values)

    @property
    def count(self) -> int:
        """Number of seeds."""
        return len(self.results)

    @property
    def count_text(self) -> str:
        """Number of seeds, and of how many if some are not done: `2 of 3`."""
        missing = len(self.unfinished)
        return f"{self.count} of {self.count + missing}" if missing else str(self.count)

    @property
    def layers(self) -> list[str]:
        """Names of the layers, in the order of the network."""
        return list(dict.fromkeys(n for result in self.results for n in result.metrics["layers"]))

    def layer(self, name: str) -> list[Mapping[str, Any]]:
        """Return what is known of a layer, by seed; empty if there is no such layer."""
        layers = [result.metrics["layers"] for result in self.results]
        return [of_seed[name] for of_seed in layers if name in of_seed]

    @property
    def seconds(self) -> Spread:
        return Spread.of(result.seconds for result in self.results)


def rows_of(results: Sequence[Result], unfinished: Iterable[Record] = ()) -> list[Row]:
    """Group results by label and sparsity, in order of appearance and of sparsity.

    Runs that differ in more than seed and sparsity never share a row. A ticket that several runs
    share, such as the dense network they all begin with, counts once. If that leaves several
    results of one seed, or several cycles, each has a row of its own. `unfinished`: records of runs
    that have not come to their end, so that a row can say how many seeds are missing.
    """
    labels = labels_of(results)
    groups: dict[tuple[str, float], list[Result]] = {}
    for result in results:
        key = labels[kind_of_result(result)], round(result.sparsity, 6)
        groups.setdefault(key, []).append(result)
    order = {label: i for i, label in enumerate(labels.values())}
    keys = sorted(groups, key=lambda key: (order[key[0]], key[1]))
    waiting = _waiting(unfinished)
    return [
        Row(
            *key, part=part, results=tuple(distinct), unfinished=_missing(distinct, all_of, waiting)
        )
        for key in keys
        for part, distinct, all_of in _parts(groups[key])
    ]


def by_metric(rows: Sequence[Row]) -> dict[Metric, list[Row]]:
    """Group rows by their primary metric: values of different metrics do not share a column."""
    groups: dict[Metric, list[Row]] = {}
    for row in rows:
        groups.setdefault(row.metric, []).append(row)
    return groups


def last_parts(rows: Sequence[Row]) -> list[Row]:
    """Return one row per label and sparsity, the last of several: what curves are drawn through."""
    return list({(row.label, row.sparsity): row for row in rows}.values())


def _parts(results: Sequence[Result]) -> list[tuple[str, list[Result], Sequence[Result]]]:
    """Split results of one label and sparsity until no seed is there twice.

    Returns the name of each part, its distinct tickets, and all runs they belong to.
    """
    parts: list[tuple[str, Sequence[Result]]] = [("", results)]
    for tell, must_split in (
        (lambda one: f"cycle {one.cycle}", _has_several_cycles),
        (_told_by_target, _has_a_seed_twice),
        (_told_by_keys, _has_a_seed_twice),
        (lambda one: f"in {one.store}", _has_a_seed_twice),
    ):
        parts = [piece for part in parts for piece in _split(*part, tell, must_split)]
    return [(name, _distinct(part), part) for name, part in parts]


def _split(
    name: str,
    results: Sequence[Result],
    tell: Callable[[Result], str],
    must_split: Callable[[Sequence[Result]], bool],
) -> list[tuple[str, Sequence[Result]]]:
    if not must_split(_distinct(results)):
        return [(name, results)]
    pieces: dict[str, list[Result]] = {}
    for one in sorted(results, key=lambda one: (one.cycle, one.target or 0.0)):
        pieces.setdefault(" ".join(filter(None, (name, tell(one)))), []).append(one)
    return list(pieces.items())


def _told_by_target(one: Result) -> str:
    return "" if one.target is None else f"of the run to {100 * one.target:.2f} %"


def _told_by_keys(one: Result) -> str:
    return ", ".join(text for text in one.overrides if KEY.search(text))


def _has_several_cycles(results: Sequence[Result]) -> bool:
    return len({one.cycle for one in results}) > 1


def _has_a_seed_twice(results: Sequence[Result]) -> bool:
    return len({one.seed for one in results}) < len(results)


def _distinct(results: Sequence[Result]) -> list[Result]:
    """Return each ticket once, as the first of its results."""
    return list({one.ticket: one for one in reversed(results)}.values())[::-1]


Waiting = Mapping[tuple[Kind, float | None], Sequence[int]]


def _waiting(records: Iterable[Record]) -> Waiting:
    seeds: dict[tuple[Kind, float | None], list[int]] = {}
    for record in records:
        if record.content["status"] != "done":
            key = kind_of(record.content), target_of(record.content)
            seeds.setdefault(key, []).append(seed_of(record.content))
    return seeds


def _missing(
    distinct: Sequence[Result], all_of: Sequence[Result], waiting: Waiting
) -> tuple[int, ...]:
    keys = {(kind_of_result(one), one.target) for one in all_of}
    seeds = {seed for key in keys for seed in waiting.get(key, ())}
    return tuple(sorted(seeds - {one.seed for one in all_of}))
