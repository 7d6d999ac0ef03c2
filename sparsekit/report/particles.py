"""What merging gained: particles, their soup and their ensemble, and the barriers between them."""

from __future__ import annotations

import itertools
import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from sparsekit.report.formats import Table
from sparsekit.report.rows import Row, Spread, mean_and_std

STUDIES = ("particles", "barriers")
SPLITS = ("test", "val")
ACCURACIES = ("mean", "best", "merged", "gap_to_mean", "gap_to_best", "ensemble")
GEOMETRY = ("distance", "angle", "to_barycentre")
BARRIERS = ("barrier", "instability", "loss_barrier")
KINDS = ("particles", "cycles")

SHOWN = {
    "test_mean": ("mean candidate", 100, False),
    "test_best": ("best candidate", 100, False),
    "test_merged": ("merged", 100, False),
    "test_gap_to_mean": ("gap to mean", 100, True),
    "test_ensemble": ("prediction ensemble", 100, False),
    "distance": ("distance", 1, False),
    "angle": ("angle (degrees)", 1, False),
    "test_barrier_particles": ("barrier between particles", 100, False),
    "test_barrier_cycles": ("barrier to the previous cycle", 100, False),
}
"""Of each measure: its header, its scale, and whether its sign is written."""

NAMES = (
    *(f"{split}_{name}" for split in SPLITS for name in ACCURACIES),
    *GEOMETRY,
    *(f"{split}_{name}_{kind}" for split in SPLITS for name in BARRIERS for kind in KINDS),
)
"""Of all measures, as they stand in the CSV."""


def particles(rows: Sequence[Row]) -> Table:
    """One row per method and sparsity whose particles, or step from cycle to cycle, were studied.

    Accuracies are on the test images, in percent: of the mean candidate; of the best, chosen by
    validation accuracy; of the merged ticket, and how much better it is than the mean; of the
    ensemble of their predictions. Distance and angle are means over the pairs of particles, the
    barrier (of the error, in percentage points) is the highest of the pairs. A cycle with one
    particle has no more than the barrier to the cycle before. `n` counts the seeds studied.
    """
    seeds = [[found for one in row.results if (found := measures(one.studies))] for row in rows]
    studied = [(row, found) for row, found in zip(rows, seeds, strict=True) if found]
    headers = ["method", "sparsity", *(header for header, _, _ in SHOWN.values()), "n"]
    columns = [f"{name}_{kind}" for name in NAMES for kind in ("mean", "std")]
    return Table(
        headers=headers,
        cells=[_cells(row, found) for row, found in studied],
        columns=["method", "sparsity", "n", *columns],
        values=[_values(row, found) for row, found in studied],
        notes=[] if studied else ["no run here has studies of its particles (method.studies)"],
    )


def measures(studies: Mapping[str, Mapping[str, Any]]) -> dict[str, float]:
    """The numbers of one seed's studies; what was not studied is not there.

    >>> pair = {"test_barrier": 0.25, "test_instability": 0.5, "val_barrier": 0.125}
    >>> measures({"barriers": {"pairs": [{"kind": "cycles", **pair}]}})
    {'test_barrier_cycles': 0.25, 'test_instability_cycles': 0.5, 'val_barrier_cycles': 0.125}
    """
    found: dict[str, float] = {}
    if "particles" in studies and len(studies["particles"]["candidates"]) > 1:
        found |= _accuracies(studies["particles"]) | _geometry(studies["particles"]["geometry"])
    if "barriers" in studies:
        found |= _barriers(studies["barriers"]["pairs"])
    return found


def _accuracies(study: Mapping[str, Any]) -> dict[str, float]:
    best = study["candidates"][study["best"]]
    return {
        f"{split}_{name}": {**study, "best": best}[name][f"{split}_accuracy"]
        for split in SPLITS
        for name in ACCURACIES
    }


def _geometry(geometry: Mapping[str, Any]) -> dict[str, float]:
    return {
        "distance": mean_of_pairs(geometry["distances"]),
        "angle": mean_of_pairs(geometry["angles"]),
        "to_barycentre": statistics.fmean(geometry["to_barycentre"]),
    }


def _barriers(pairs: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    found = {}
    for split, name, kind in itertools.product(SPLITS, BARRIERS, KINDS):
        key = f"{split}_{name}"
        heights = [pair[key] for pair in pairs if pair["kind"] == kind and key in pair]
        if heights:
            found[f"{key}_{kind}"] = max(heights)
    return found


def mean_of_pairs(matrix: Sequence[Sequence[float]]) -> float:
    """Mean of a symmetric matrix above its diagonal.

    >>> mean_of_pairs([[0.0, 1.0, 2.0], [1.0, 0.0, 6.0], [2.0, 6.0, 0.0]])
    3.0
    """
    pairs = itertools.combinations(range(len(matrix)), 2)
    return statistics.fmean(matrix[i][j] for i, j in pairs)


def _spread(seeds: Sequence[Mapping[str, float]], name: str) -> Spread | None:
    return Spread.of_all(seed.get(name) for seed in seeds)


def _cells(row: Row, seeds: Sequence[Mapping[str, float]]) -> list[str]:
    spreads = [(_spread(seeds, name), scale, sign) for name, (_, scale, sign) in SHOWN.items()]
    texts = ["" if s is None else s.text(scale=scale, sign=sign) for s, scale, sign in spreads]
    return [row.label, f"{100 * row.sparsity:.2f}", *texts, str(len(seeds))]


def _values(row: Row, seeds: Sequence[Mapping[str, float]]) -> list[object]:
    numbers = mean_and_std(_spread(seeds, name) for name in NAMES)
    return [row.label, row.sparsity, len(seeds), *numbers]
