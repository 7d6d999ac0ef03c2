"""One method against the others: differences of the same seeds, and what so few can say."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence

from sparsekit.evaluation.significance import LEVEL, Paired, holm, paired
from sparsekit.report.budget import ratio_notes
from sparsekit.report.formats import Table
from sparsekit.report.reading import is_number, scale, unit
from sparsekit.report.rows import Row, last_parts
from sparsekit.tasks.metric import Metric

COLUMNS = (
    "method", "sparsity", "against", "against_sparsity", "n", "difference_mean", "difference_std",
    "low", "high", "p_t", "p_t_holm", "p_sign_flip", "verdict",
)  # fmt: skip
CAPTION = (
    f"test metric less that of the same seed; {LEVEL:.0%} interval by Student's t, which assumes "
    "roughly normal differences; p of the t test, corrected for the number of lines (Holm); "
    "sign flip: exact and without assumptions, beside the least that n seeds can reach"
)
NO_EVIDENCE = "no evidence"
NOT_EQUAL = (
    f"{NO_EVIDENCE} of a difference is none of being equal: the interval says how much may hide"
)


@dataclasses.dataclass(frozen=True)
class Comparison:
    """A row beside the one it is held against, over the seeds that both have."""

    row: Row
    other: Row
    found: Paired

    def verdict(self, p: float) -> str:
        """Say better or worse, where the interval does and the corrected p does not disagree.

        The direction of the metric counts; p is NaN where all differences are equal.
        """
        if not self.found.is_evidence or p > 1 - LEVEL:
            return NO_EVIDENCE
        return "better" if self.row.metric.quality(self.found.mean) > 0 else "worse"


def title(rows: Sequence[Row], against: str) -> str:
    """Name the table, with the unit of its numbers."""
    units = dict.fromkeys(unit(row.metric) for row in rows)
    return f"differences to {against} ({', '.join(units)})"


def differences(rows: Sequence[Row], against: str) -> Table:
    """Compare every method with one, at its own sparsity, seed by seed.

    Where the other is dense, networks of any sparsity are held against it. Networks that both
    share, such as the dense one that IMP begins with, are left out.
    ValueError if no row is called `against`, or nothing else is there.
    """
    rows = last_parts(rows)
    labels = list(dict.fromkeys(row.label for row in rows))
    against = label_of(against, rows)
    if len(labels) == 1:
        raise ValueError(f"--against {against}: there is nothing else to compare with it")
    reference = {(row.metric, row.sparsity): row for row in rows if row.label == against}
    comparisons, notes = [], []
    for row in rows:
        if row.label == against:
            continue
        made = _compare(row, against, reference)
        if made is None:
            continue
        if isinstance(made, str):
            notes.append(f"{row.name} at {_percent(row)} is left out: {made}")
        else:
            comparisons.append(made)
    return _table(comparisons, notes)


def label_of(name: str, rows: Sequence[Row]) -> str:
    """Return the label that a name means: the label itself, or the method's own name if it is of
    one label; ValueError for any other."""
    labels = list(dict.fromkeys(row.label for row in rows))
    if name in labels:
        return name
    of_method = dict.fromkeys(row.label for row in rows if row.results[0].method == name)
    if len(of_method) == 1:
        return next(iter(of_method))
    there = ", ".join(of_method or labels) or "nothing"
    raise ValueError(f"--against {name}: there is {there}")


def _compare(
    row: Row, against: str, reference: Mapping[tuple[Metric, float], Row]
) -> Comparison | str | None:
    """Return the comparison of a row, or why there is none; None for the very same networks."""
    other = reference.get((row.metric, row.sparsity))
    if other is None and all(sparsity == 0 for _, sparsity in reference):
        other = reference.get((row.metric, 0.0))
    if other is None:
        return f"{against} has no {row.metric.name} at this sparsity"
    if {one.ticket for one in row.results} <= {one.ticket for one in other.results}:
        return None
    try:
        return Comparison(row, other, paired(by_seed(row), by_seed(other)))
    except ValueError as error:
        return str(error)


def paired_rows(first: Row, second: Row) -> Paired | None:
    """Compare two rows over the seeds that both have; None if there is none."""
    try:
        return paired(by_seed(first), by_seed(second))
    except ValueError:
        return None


def by_seed(row: Row) -> dict[int, float]:
    """Return the primary metric on the test split by seed, without what is not a finite number."""
    name = f"test_{row.metric.name}"
    values = {result.seed: result.metrics[name] for result in row.results}
    return {seed: v for seed, v in values.items() if is_number(v) and math.isfinite(v)}


def _table(comparisons: Sequence[Comparison], notes: Sequence[str]) -> Table:
    corrected = holm([one.found.p_t for one in comparisons])
    lines = list(zip(comparisons, corrected, strict=True))
    undecided = any(one.verdict(p) == NO_EVIDENCE for one, p in lines)
    return Table(
        headers=[
            "method", "sparsity", "against", "n", "mean difference", f"{LEVEL:.0%} interval",
            "p (Holm)", "sign flip", "verdict",
        ],
        cells=[_cells(one, p) for one, p in lines],
        columns=COLUMNS,
        values=[_values(one, p) for one, p in lines],
        notes=[
            *([NOT_EQUAL] if undecided else []),
            *ratio_notes((one.row, one.other) for one in comparisons),
            *notes,
        ],
        caption=CAPTION if lines else "",
    )  # fmt: skip


def _cells(one: Comparison, p: float) -> list[str]:
    found, factor = one.found, scale(one.row.metric)
    has_interval = not math.isnan(found.low)
    interval = f"{factor * found.low:+.2f} to {factor * found.high:+.2f}" if has_interval else ""
    flips = f"{found.p_sign_flip:.3f} (>= {found.least_p:.3f})" if has_interval else ""
    return [
        one.row.name,
        f"{100 * one.row.sparsity:.2f}",
        f"{one.other.name} at {_percent(one.other)}",
        str(found.count),
        f"{factor * found.mean:+.2f}",
        interval,
        "" if math.isnan(p) else f"{p:.3f}",
        flips,
        one.verdict(p),
    ]


def _values(one: Comparison, p: float) -> list[object]:
    found = one.found
    numbers = [
        found.deviation, found.low, found.high, found.p_t, p, found.p_sign_flip,
    ]  # fmt: skip
    known = [None if math.isnan(number) else number for number in numbers]
    heads = [one.row.name, one.row.sparsity, one.other.name, one.other.sparsity, found.count]
    return [*heads, found.mean, *known, one.verdict(p)]


def _percent(row: Row) -> str:
    return f"{100 * row.sparsity:.2f} %"
