"""Mean and standard deviation over seeds, as terminal, Markdown and CSV tables."""

from __future__ import annotations

import csv
import dataclasses
import io
import statistics
from collections.abc import Callable, Iterable, Sequence

from tabulate import tabulate

from sparsekit.report.collect import Result

HEADERS = (
    "method", "sparsity", "test accuracy", "validation", "n",
    "sparsity (prunable)", "sparsity (all)", "parameters", "FLOPs", "seconds per fit",
)  # fmt: skip


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

    def percent(self) -> str:
        """
        >>> Spread.of([0.9, 0.92]).percent()
        '91.00 +- 1.41'
        """
        spread = "" if self.deviation is None else f" +- {100 * self.deviation:.2f}"
        return f"{100 * self.mean:.2f}{spread}"


@dataclasses.dataclass(frozen=True)
class Row:
    """All seeds of one method at one sparsity."""

    label: str
    sparsity: float
    results: tuple[Result, ...]

    def spread(self, name: str) -> Spread:
        """Of a metric over the seeds."""
        return Spread.of(float(result.metrics[name]) for result in self.results)

    def kept(self, layer: str) -> str:
        """Percentage of a layer's weights that are kept; empty where there is no such layer."""
        found = [r.metrics["layers"][layer] for r in self.results if layer in r.metrics["layers"]]
        shares = [100 * one["kept"] / one["size"] for one in found]
        return f"{statistics.fmean(shares):.2f}" if shares else ""

    @property
    def seconds(self) -> float:
        return statistics.fmean(result.seconds for result in self.results)


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
    labels = {}
    for kind, names in spellings.items():
        others = [spellings[other] for other in spellings if other != kind]
        alone = [n for i, n in enumerate(names) if all(other[i] != n for other in others)]
        labels[kind] = (alone or [f"{names[-1]} #{kind[2]}"])[0]
    return labels


def terminal(results: Sequence[Result]) -> str:
    """A table for a terminal; percentages, mean +- standard deviation over n seeds."""
    return tabulate(_cells(results), headers=HEADERS, disable_numparse=True)


def markdown(results: Sequence[Result]) -> str:
    """The same table in Markdown."""
    return tabulate(_cells(results), headers=HEADERS, tablefmt="github", disable_numparse=True)


def comma_separated(results: Sequence[Result]) -> str:
    """The same numbers for machines, unrounded: mean, deviation and count in columns."""
    metrics = ("test_accuracy", "val_accuracy", "test_loss", "sparsity_prunable", "sparsity_all",
               "num_parameters_kept", "flops")  # fmt: skip
    header = ["method", "sparsity", "n"]
    header += [f"{metric}_{kind}" for metric in metrics for kind in ("mean", "std")]
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(header)
    for row in rows_of(results):
        spreads = [row.spread(metric) for metric in metrics]
        values = [value for s in spreads for value in (s.mean, s.deviation)]
        writer.writerow([row.label, row.sparsity, len(row.results), *values])
    return text.getvalue()


def layers(results: Sequence[Result]) -> str:
    """What each layer keeps in percent, mean over seeds; one column per row of the table."""
    columns = rows_of(results)
    names = list(dict.fromkeys(name for result in results for name in result.metrics["layers"]))
    headers = ["layer", "weights", *(f"{row.label} {100 * row.sparsity:.2f}" for row in columns)]
    cells = [[name, _size(results, name), *(row.kept(name) for row in columns)] for name in names]
    return tabulate(cells, headers=headers, disable_numparse=True)


def _size(results: Sequence[Result], name: str) -> str:
    sizes = {r.metrics["layers"][name]["size"] for r in results if name in r.metrics["layers"]}
    return " or ".join(f"{size:,}" for size in sorted(sizes))


FORMATS: dict[str, Callable[[Sequence[Result]], str]] = {
    "terminal": terminal,
    "markdown": markdown,
    "csv": comma_separated,
}


def _cells(results: Sequence[Result]) -> list[list[str]]:
    return [
        [
            row.label,
            f"{100 * row.sparsity:.2f}",
            row.spread("test_accuracy").percent(),
            row.spread("val_accuracy").percent(),
            str(len(row.results)),
            f"{100 * row.spread('sparsity_prunable').mean:.3f}",
            f"{100 * row.spread('sparsity_all').mean:.3f}",
            f"{row.spread('num_parameters_kept').mean:,.0f}",
            f"{row.spread('flops').mean:,.0f}",
            f"{row.seconds:.1f}",
        ]
        for row in rows_of(results)
    ]
