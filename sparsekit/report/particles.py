"""What merging gained: particles, their soup and their ensemble, and the barriers between them."""

from __future__ import annotations

import itertools
import math
import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from sparsekit.report.formats import Table
from sparsekit.report.notes import caption
from sparsekit.report.reading import is_number, written
from sparsekit.report.rows import Row
from sparsekit.report.spread import Spread, mean_and_std
from sparsekit.tasks.metric import ACCURACY, Metric

STUDIES = ("particles", "barriers")
SPLITS = ("test", "val")
MEASURED = ("mean", "best", "merged", "gap_to_mean", "gap_to_best", "ensemble")
GEOMETRY = ("distance", "angle", "to_barycentre")
BARRIERS = ("barrier", "instability", "loss_barrier")
KINDS = ("particles", "cycles")

SHOWN = {
    "test_mean": "mean particle",
    "test_best": "best particle",
    "test_merged": "merged",
    "test_gap_to_mean": "gap to mean",
    "test_ensemble": "prediction ensemble",
    "distance": "distance",
    "angle": "angle (degrees)",
    "test_barrier_particles": "barrier between particles",
    "test_barrier_cycles": "barrier to the previous cycle",
}
"""Of each measure: its header."""

NAMES = (
    *(f"{split}_{name}" for split in SPLITS for name in MEASURED),
    *GEOMETRY,
    *(f"{split}_{name}_{kind}" for split in SPLITS for name in BARRIERS for kind in KINDS),
)
"""Of all measures, as they are named in the CSV."""


def particles(rows: Sequence[Row]) -> Table:
    """Make a row per method and sparsity of which particles, or steps between cycles, were studied.

    The primary metric is that of the test split, and one for all rows: of the mean particle; of the
    best, chosen by validation; of the merged ticket, and by how much it differs from the mean; of
    the ensemble of their predictions. Distance and angle are means over the pairs of particles. The
    barrier (of the error, in percentage points if the metric is a percentage) is the highest of the
    pairs. A cycle with one particle has only the barrier to the cycle before. `n` counts the seeds
    studied.
    """
    seeds = [
        [found for one in row.results if (found := measures(one.studies, row.metric))]
        for row in rows
    ]
    studied = [(row, found) for row, found in zip(rows, seeds, strict=True) if found]
    headers = ["method", "sparsity", *SHOWN.values(), "n"]
    columns = [f"{name}_{kind}" for name in NAMES for kind in ("mean", "std")]
    return Table(
        headers=headers,
        cells=[_cells(row, found) for row, found in studied],
        columns=["method", "sparsity", "n", *columns],
        values=[_values(row, found) for row, found in studied],
        caption=caption([row for row, _ in studied]),
        notes=[] if studied else ["no run here has studies of its particles (method.studies)"],
    )


def title(metric: Metric) -> str:
    """Say what the table's values are in.

    >>> title(ACCURACY)
    'particles (test accuracy and barriers in %)'
    """
    where = "in %" if metric.style == "percent" else "of it"
    return f"particles (test {metric.name} and barriers {where})"


def measures(
    studies: Mapping[str, Mapping[str, Any]], metric: Metric = ACCURACY
) -> dict[str, float]:
    """Return the numbers of one seed's studies; what was not studied is missing.

    >>> pair = {"test_barrier": 0.25, "test_instability": 0.5, "val_barrier": 0.125}
    >>> measures({"barriers": {"pairs": [{"kind": "cycles", **pair}]}})
    {'test_barrier_cycles': 0.25, 'test_instability_cycles': 0.5, 'val_barrier_cycles': 0.125}
    """
    found: dict[str, float] = {}
    if "particles" in studies and len(_members(studies["particles"])) > 1:
        found |= _measured(studies["particles"], metric) | _geometry(
            studies["particles"]["geometry"]
        )
    if "barriers" in studies:
        found |= _barriers(studies["barriers"]["pairs"])
    return found


def _members(study: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
    """Return what was measured of each particle; older stores call them candidates."""
    members: Sequence[Mapping[str, Any]] = study.get("particles") or study.get("candidates", [])
    return members


def _measured(study: Mapping[str, Any], metric: Metric) -> dict[str, float]:
    """Return the primary metric of each kind of network; a task need not have an ensemble."""
    networks = {**study, "best": _members(study)[study["best"]]}
    measured = {
        f"{split}_{name}": (networks[name] or {}).get(f"{split}_{metric.name}")
        for split in SPLITS
        for name in MEASURED
    }
    return {name: value for name, value in measured.items() if is_number(value)}


def _geometry(geometry: Mapping[str, Any]) -> dict[str, float]:
    return {
        "distance": mean_of_pairs(geometry["distances"]),
        "angle": mean_of_pairs(geometry["angles"]),
        "to_barycentre": statistics.fmean(map(_known, geometry["to_barycentre"])),
    }


def _barriers(pairs: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    found = {}
    for split, name, kind in itertools.product(SPLITS, BARRIERS, KINDS):
        key = f"{split}_{name}"
        heights = [pair[key] for pair in pairs if pair["kind"] == kind and is_number(pair.get(key))]
        if heights:
            found[f"{key}_{kind}"] = max(heights)
    return found


def mean_of_pairs(matrix: Sequence[Sequence[float | None]]) -> float:
    """Average a symmetric matrix above its diagonal.

    >>> mean_of_pairs([[0.0, 1.0, 2.0], [1.0, 0.0, 6.0], [2.0, 6.0, 0.0]])
    3.0
    """
    pairs = itertools.combinations(range(len(matrix)), 2)
    return statistics.fmean(_known(matrix[i][j]) for i, j in pairs)


def _known(value: float | None) -> float:
    return math.nan if value is None else value


def _spread(seeds: Sequence[Mapping[str, float]], name: str) -> Spread | None:
    return Spread.of_all(seed.get(name) for seed in seeds)


def _cells(row: Row, seeds: Sequence[Mapping[str, float]]) -> list[str]:
    texts = [_text(row.metric, name, _spread(seeds, name)) for name in SHOWN]
    return [row.name, f"{100 * row.sparsity:.2f}", *texts, str(len(seeds))]


def _text(metric: Metric, name: str, spread: Spread | None) -> str:
    if spread is None or name in GEOMETRY:
        return "" if spread is None else spread.text()
    return written(metric, spread, sign="gap" in name)


def _values(row: Row, seeds: Sequence[Mapping[str, float]]) -> list[object]:
    numbers = mean_and_std(_spread(seeds, name) for name in NAMES)
    return [row.name, row.sparsity, len(seeds), *numbers]
