"""Results grouped into the rows of tables: mean and standard deviation over seeds."""

from __future__ import annotations

import collections
import dataclasses
import statistics
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from sparsekit.report.collect import Result


@dataclasses.dataclass(frozen=True)
class Spread:
    """Mean and sample standard deviation of n values; with one value there is no deviation."""

    mean: float
    deviation: float | None
    count: int

    @classmethod
    def of(cls, values: Iterable[float]) -> Spread:
        listed = list(values)
        deviation = statistics.stdev(listed) if len(listed) > 1 else None
        return cls(statistics.fmean(listed), deviation, len(listed))

    @classmethod
    def of_all(cls, values: Iterable[float | None]) -> Spread | None:
        """None if there are no values or one is missing: a mean over fewer seeds than the row has
        would not be what its n says.

        >>> Spread.of_all([0.5, None])
        >>> Spread.of_all([0.5])
        Spread(mean=0.5, deviation=None, count=1)
        """
        listed = list(values)
        known = [float(value) for value in listed if value is not None]
        return cls.of(known) if known and len(known) == len(listed) else None

    def text(self, *, scale: float = 1.0, sign: bool = False) -> str:
        """With two digits; what rounds to 0 is not negative.

        >>> Spread.of([0.25, 0.75]).text(), Spread.of([-0.001]).text(sign=True)
        ('0.50 +- 0.35', '+0.00')
        """
        spread = "" if self.deviation is None else f" +- {scale * self.deviation:.2f}"
        return f"{scale * self.mean:{'+' if sign else ''}z.2f}{spread}"

    def percent(self) -> str:
        """
        >>> Spread.of([0.9, 0.92]).percent()
        '91.00 +- 1.41'
        """
        return self.text(scale=100)


@dataclasses.dataclass(frozen=True)
class Row:
    """All seeds of one method at one sparsity."""

    label: str
    sparsity: float
    results: tuple[Result, ...]

    def spread(self, name: str) -> Spread:
        """Of a metric that every ticket has, over the seeds."""
        return Spread.of(float(result.metrics[name]) for result in self.results)

    def known(self, name: str) -> Spread | None:
        """Of a metric that older stores lack and that may be undefined; None unless all have it."""
        return Spread.of_all(result.metrics.get(name) for result in self.results)

    @property
    def count(self) -> int:
        """Number of seeds."""
        return len(self.results)

    @property
    def layers(self) -> list[str]:
        """Names of the layers, in the order of the network."""
        return list(dict.fromkeys(n for result in self.results for n in result.metrics["layers"]))

    def layer(self, name: str) -> list[Mapping[str, Any]]:
        """What each seed says of a layer; empty where there is no such layer."""
        layers = [result.metrics["layers"] for result in self.results]
        return [of_seed[name] for of_seed in layers if name in of_seed]

    @property
    def seconds(self) -> Spread:
        return Spread.of(result.seconds for result in self.results)


def mean_and_std(spreads: Iterable[Spread | None]) -> list[float | None]:
    """Two columns of a CSV for each spread, empty for what is not known.

    >>> mean_and_std([Spread(0.5, 0.1, 3), None])
    [0.5, 0.1, None, None]
    """
    parts = [(None, None) if s is None else (s.mean, s.deviation) for s in spreads]
    return [value for two in parts for value in two]


def rows_of(results: Sequence[Result]) -> list[Row]:
    """Results grouped by label and sparsity, in order of appearance and of sparsity.

    Runs that differ in more than seed and sparsity never share a row. A ticket that several runs
    share, such as the dense network they all begin with, counts once.
    """
    labels = _labels(results)
    groups: dict[tuple[str, float], dict[str, Result]] = {}
    for result in results:
        key = labels[_kind(result)], round(result.sparsity, 6)
        groups.setdefault(key, {}).setdefault(result.ticket, result)
    order = {label: i for i, label in enumerate(labels.values())}
    keys = sorted(groups, key=lambda key: (order[key[0]], key[1]))
    return [Row(*key, tuple(groups[key].values())) for key in keys]


Kind = tuple[str, str, str]


def _kind(result: Result) -> Kind:
    return result.experiment, result.method, result.variant


def _labels(results: Sequence[Result]) -> dict[Kind, str]:
    """The shortest name that tells each kind of run from the others: the method; what else was
    asked for; the experiment; the digest of the configuration."""
    asked = {_kind(result): result.asked for result in results}
    spellings = {
        kind: tuple(
            " ".join(filter(None, part))
            for part in (kind[1:2], (kind[1], asked[kind]), (f"{kind[0]}:", kind[1], asked[kind]))
        )
        for kind in asked
    }
    uses = collections.Counter(
        (length, name) for names in spellings.values() for length, name in enumerate(names)
    )
    labels = {}
    for kind, names in spellings.items():
        alone = [name for length, name in enumerate(names) if uses[length, name] == 1]
        labels[kind] = (alone or [f"{names[-1]} #{kind[2]}"])[0]
    return labels
