"""Essential sparsity and the knee of every method, against its dense reference."""

from __future__ import annotations

import dataclasses
import math
import statistics
from collections.abc import Sequence

from sparsekit.report.formats import Table
from sparsekit.report.knee import Point, drops_in_slope, essential, knee
from sparsekit.report.reading import header, written
from sparsekit.report.rows import Row, last_parts
from sparsekit.report.spread import Spread
from sparsekit.tasks.metric import ACCURACY, Metric

HEADERS = ("dense of", "points", "n", "essential sparsity", "lost at", "knee")
COLUMNS = (
    "dense_of", "num_points", "n", "tolerance", "essential_sparsity", "lost_at", "knee",
    "last_measured",
)  # fmt: skip
LEAST = 3
CAVEAT = "means on the test split, looked at afterwards: nothing is chosen by these numbers"


@dataclasses.dataclass(frozen=True)
class Curve:
    """Mean of one method's primary metric against the measured sparsity of its prunable weights.

    `points` ascend and hold qualities, of which more is better (`Metric.quality`); the first is the
    dense reference at sparsity 0, of the methods `dense_of`.
    """

    label: str
    metric: Metric
    dense_of: str
    points: tuple[Point, ...]
    num_seeds: int

    @property
    def dense(self) -> float:
        return self.points[0][1]

    def value(self, quality: float) -> float:
        """Turn a quality back into the metric."""
        return self.metric.quality(quality)

    @property
    def last(self) -> float:
        return self.points[-1][0]


def curves(rows: Sequence[Row]) -> tuple[list[Curve], list[str]]:
    """Return the curve of each method with enough points, and why other methods have none.

    The dense reference is the method's own row at sparsity 0; else the method `dense` of the same
    experiment; else all rows at sparsity 0 of the experiment. The mean of several counts each
    ticket once. `num_seeds` is that of the point that has fewest.
    """
    found, short, unreferenced = [], [], []
    shown = [row for row in last_parts(rows) if math.isfinite(row.quality)]
    for label in dict.fromkeys(row.label for row in shown if row.sparsity > 0):
        own = [row for row in shown if row.label == label]
        dense = _dense_rows(own, shown)
        if not dense:
            unreferenced.append(label)
            continue
        curve = _curve(own, dense)
        if len(curve.points) < LEAST:
            short.append(label)
        else:
            found.append(curve)
    obstacles = {
        f"fewer than {LEAST} sparsities, the dense one among them": short,
        "no row at sparsity 0, and no dense run in the experiment": unreferenced,
    }
    return found, [
        f"cannot be determined for {', '.join(labels)}: {why}"
        for why, labels in obstacles.items()
        if labels
    ]


def essential_sparsities(rows: Sequence[Row], *, tolerance: float) -> Table:
    """Make one row per curve; notes tell what lies beyond the measurements or is not known.

    All rows have one primary metric, and `tolerance` is an absolute distance in it. ValueError
    unless 0 <= tolerance, and below 1 for shares of 1.
    """
    metric = rows[0].metric if rows else ACCURACY
    _check(tolerance, metric)
    found, obstacles = curves(rows)
    ends = [essential(c.points, dense=c.dense, tolerance=tolerance) for c in found]
    lines = [
        (c, end.within, end.beyond, knee(c.points)) for c, end in zip(found, ends, strict=True)
    ]
    return Table(
        headers=["method", header(metric, "dense"), *HEADERS],
        cells=[_cells(*line) for line in lines],
        columns=["method", f"dense_{metric.name}", *COLUMNS],
        values=[
            [
                c.label,
                c.value(c.dense),
                c.dense_of,
                len(c.points),
                c.num_seeds,
                tolerance,
                *numbers,
                c.last,
            ]
            for c, *numbers in lines
        ],
        notes=[*(note for line in lines for note in _notes(*line)), *obstacles, CAVEAT],
    )


def curve_points(rows: Sequence[Row]) -> Table:
    """Tabulate the points of the curves, their losses against dense, and where slopes drop."""
    metric = rows[0].metric if rows else ACCURACY
    lines = [
        (curve, sparsity, quality, dict(drops_in_slope(curve.points)).get(sparsity))
        for curve in curves(rows)[0]
        for sparsity, quality in curve.points
    ]
    return Table(
        headers=["method", "sparsity", header(metric, "test"), "to dense", "slope drop"],
        cells=[
            [
                curve.label,
                f"{100 * sparsity:.2f}",
                _written(metric, curve.value(quality)),
                _written(metric, curve.value(quality) - curve.value(curve.dense), sign=True),
                "" if drop is None else f"{drop:+z.3f}",
            ]
            for curve, sparsity, quality, drop in lines
        ],
        columns=["method", "sparsity", f"test_{metric.name}", "to_dense", "drop_in_slope"],
        values=[
            [c.label, s, c.value(quality), c.value(quality) - c.value(c.dense), drop]
            for c, s, quality, drop in lines
        ],
    )


def _check(tolerance: float, metric: Metric) -> None:
    if metric.style == "percent" and not 0 <= tolerance < 1:
        message = f"the tolerance is a share of 1 in [0, 1), 0.01 for 1 % {metric.name}"
        raise ValueError(f"{message}, got {tolerance}")


def _written(metric: Metric, value: float, *, sign: bool = False) -> str:
    return written(metric, Spread(value, None, 1), sign=sign)


def _dense_rows(own: Sequence[Row], rows: Sequence[Row]) -> list[Row]:
    mine = [row for row in own if row.sparsity == 0]
    experiment = own[0].results[0].experiment
    others = [r for r in rows if r.sparsity == 0 and r.results[0].experiment == experiment]
    return mine or [row for row in others if row.results[0].method == "dense"] or others


def _curve(own: Sequence[Row], dense: Sequence[Row]) -> Curve:
    """Make a curve of rows; rows that turn out equally sparse are one point."""
    references = {result.ticket: result for row in dense for result in row.results}
    metric = own[0].metric
    reference = statistics.fmean(
        metric.quality(one.metrics[f"test_{metric.name}"]) for one in references.values()
    )
    qualities: dict[float, list[float]] = {}
    for row in own:
        sparsity = round(row.spread("sparsity_prunable").mean, 6)
        qualities.setdefault(sparsity, []).append(row.quality)
    means = {sparsity: statistics.fmean(several) for sparsity, several in qualities.items()}
    label, labels = own[0].label, dict.fromkeys(row.label for row in dense)
    of = "itself" if label in labels else ", ".join(labels)
    return Curve(
        label=label,
        metric=metric,
        dense_of=of if len(labels) <= 2 else f"{len(labels)} methods",
        points=((0.0, reference), *sorted((s, mean) for s, mean in means.items() if s > 0)),
        num_seeds=min(len(references), *(row.count for row in own)),
    )


def _cells(
    curve: Curve, within: float | None, beyond: float | None, bend: float | None
) -> list[str]:
    open_end = ">= " if beyond is None else ""
    return [
        curve.label,
        _written(curve.metric, curve.value(curve.dense)),
        curve.dense_of,
        str(len(curve.points)),
        str(curve.num_seeds),
        f"{open_end}{_percent(within)}",
        _percent(beyond),
        _percent(bend),
    ]


def _notes(
    curve: Curve, within: float | None, beyond: float | None, bend: float | None
) -> list[str]:
    label, notes = curve.label, []
    if beyond is None:
        notes.append(
            f"{label}: the essential sparsity lies beyond the last measured, {_percent(curve.last)}"
        )
    elif within == 0:
        notes.append(
            f"{label}: the essential sparsity lies below the first measured, {_percent(beyond)}"
        )
    if bend is None:
        notes.append(
            f"{label}: the knee cannot be determined: the curve bends down nowhere before the last "
            f"measured sparsity, {_percent(curve.last)}"
        )
    return notes


def _percent(number: float | None) -> str:
    return "" if number is None else f"{100 * number:.2f}"
