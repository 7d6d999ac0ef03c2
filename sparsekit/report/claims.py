"""What experiments claim of their methods: read from the records of their runs, and judged."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from sparsekit.evaluation.significance import holm, paired
from sparsekit.report.collect import Record
from sparsekit.report.differences import NO_EVIDENCE, Comparison, by_seed
from sparsekit.report.labels import called_of
from sparsekit.report.rows import Row, last_parts, rows_of

SUPPORTED, CONTRADICTED, NOT_TESTABLE = "supported", "contradicted", "not testable"
WEAKEST_FIRST = (CONTRADICTED, NOT_TESTABLE, NO_EVIDENCE, SUPPORTED)
SLACK = 1.05
"""How many times more or fewer weights may be kept at a sparsity that counts as the stated one."""
LEAST_SEEDS = 2
SAME = "both are the same networks"


@dataclasses.dataclass(frozen=True)
class Claim:
    """That `first` is better than `second`, or as good `within` a margin; at every sparsity that
    both have, unless one is stated."""

    experiment: str
    says: str
    first: str
    second: str
    within: float | None = None
    sparsity: float | None = None


@dataclasses.dataclass(frozen=True)
class Line:
    """A claim at one sparsity: what was compared, or the reason why nothing could be."""

    sparsity: float | None
    comparison: Comparison | None = None
    reason: str = ""

    @property
    def p(self) -> float:
        """The p value that counts in the correction: 1 for what is planned and not there yet."""
        if self.comparison is None:
            return 1.0
        found = self.comparison.found
        if math.isnan(found.p_t):  # all differences are equal: t is infinite, or nothing differs
            return 0.0 if found.is_evidence else 1.0
        return found.p_t


@dataclasses.dataclass(frozen=True)
class Judged:
    """A line with its p value, corrected for all lines of its experiment, and its verdict."""

    line: Line
    p: float | None
    verdict: str


@dataclasses.dataclass(frozen=True)
class Answer:
    """A claim and what results say of it, at each sparsity and as a whole."""

    claim: Claim
    lines: tuple[Judged, ...]

    @property
    def verdict(self) -> str:
        """The weakest verdict of all lines: what speaks of all sparsities must hold at all."""
        return min((one.verdict for one in self.lines), key=WEAKEST_FIRST.index)


def claims_of(records: Iterable[Record]) -> list[Claim]:
    """Return what each experiment claims, as it was stated last."""
    latest: dict[str, Mapping[str, Any]] = {}
    for record in records:
        experiment, stated = record.content["experiment"], record.content.get("claims")
        if stated and stated["time"] >= latest.get(experiment, stated)["time"]:
            latest[experiment] = stated
    return [_claim(name, one) for name, stated in latest.items() for one in stated["list"]]


def _claim(experiment: str, stated: Mapping[str, Any]) -> Claim:
    says, sparsity = stated["says"], stated.get("sparsity")
    if "better" in stated:
        return Claim(experiment, says, stated["better"], stated["than"], sparsity=sparsity)
    return Claim(experiment, says, stated["as_good"], stated["as"], stated["within"], sparsity)


def answers(claims: Iterable[Claim], rows: Sequence[Row]) -> list[Answer]:
    """Judge claims by the results in rows, those of an experiment by its own.

    p values are corrected (Holm) for all lines that the claims of the experiment plan.
    """
    by_experiment: dict[str, list[Claim]] = {}
    for claim in claims:
        by_experiment.setdefault(claim.experiment, []).append(claim)
    return [
        answer
        for experiment, several in by_experiment.items()
        for answer in _answers(several, _rows_of(experiment, rows))
    ]


def _rows_of(experiment: str, rows: Sequence[Row]) -> list[Row]:
    """Return rows of one experiment alone, so that labels tell no experiments apart."""
    results = [one for row in rows for one in row.results if one.experiment == experiment]
    return last_parts(rows_of(results))


def _answers(claims: Sequence[Claim], rows: Sequence[Row]) -> list[Answer]:
    planned = [(claim, _lines(claim, rows)) for claim in claims]
    corrected = iter(holm([line.p for _, lines in planned for line in lines]))
    return [
        Answer(claim, tuple(_judged(claim, line, next(corrected)) for line in lines))
        for claim, lines in planned
    ]


def _lines(claim: Claim, rows: Sequence[Row]) -> list[Line]:
    """Return a line for each sparsity of a claim, or the one that says why there is none."""
    try:
        ours, theirs = (_side(name, rows) for name in (claim.first, claim.second))
        if claim.sparsity is not None:
            return [_line(claim.sparsity, ours, theirs, SLACK)]
        sparsities = sorted({row.sparsity for row in (*ours.rows, *theirs.rows)})
        lines = [_line(s, ours, theirs) for s in sparsities if ours.at(s) and theirs.at(s)]
    except ValueError as error:
        return [Line(claim.sparsity, reason=str(error))]
    told = [line for line in lines if line.reason != SAME]
    return told or lines[:1] or [Line(None, reason="the two have no sparsity in common")]


@dataclasses.dataclass(frozen=True)
class _Side:
    """What a claim calls by one name: rows of one or several labels.

    Runs of one name that differ in settings have a label each, such as those of an iterative method
    with two numbers of cycles. At any one sparsity the name must mean one of them.
    """

    name: str
    rows: Sequence[Row]

    def at(self, sparsity: float, slack: float = 1.0) -> Row | None:
        """Return the row at a sparsity, that of a method which is dense alone at any; else None.

        One that keeps up to `slack` times more or fewer weights counts: budgets are whole weights.
        ValueError for several that are not the same networks, unless one has the name as its label.
        """
        nearest: dict[str, Row] = {}
        for row in sorted(self.rows, key=lambda row: -abs(row.sparsity - sparsity)):
            nearest[row.label] = row
        found = [row for row in nearest.values() if self._is_at(row, sparsity, slack)]
        found = [row for row in found if row.label == self.name] or found
        most = max(found, key=lambda row: row.count, default=None)
        if most is not None and any(_tickets(row) - _tickets(most) for row in found):
            there = ", ".join(row.label for row in found)
            raise ValueError(f"{self.name} at {100 * sparsity:g} % is one of {there}: name one")
        return most

    def _is_at(self, row: Row, sparsity: float, slack: float) -> bool:
        kept, asked = 1 - row.sparsity, 1 - sparsity
        is_near = kept <= slack * asked and asked <= slack * kept
        return is_near or all(row.sparsity == 0 for row in self.rows)


def _side(name: str, rows: Sequence[Row]) -> _Side:
    """Find what a name means: a label, what several were called, or a method; else ValueError."""
    called = [row for row in rows if name in (row.label, called_of(row.results[0]))]
    found = called or [row for row in rows if row.results[0].method == name]
    if not found:
        there = ", ".join(dict.fromkeys(row.label for row in rows)) or "nothing"
        raise ValueError(f"method {name}: there is {there}")
    return _Side(name, found)


def _tickets(row: Row) -> set[str]:
    return {one.ticket for one in row.results}


def _line(sparsity: float, ours: _Side, theirs: _Side, slack: float = 1.0) -> Line:
    first, second = ours.at(sparsity, slack), theirs.at(sparsity, slack)
    if first is None or second is None:
        missing = (ours if first is None else theirs).name
        return Line(sparsity, reason=f"{missing} has no result at {100 * sparsity:g} %")
    if first.metric != second.metric:
        return Line(sparsity, reason=f"{first.metric.name} is not {second.metric.name}")
    if _tickets(first) <= _tickets(second):
        return Line(sparsity, reason=SAME)
    try:
        found = paired(by_seed(first), by_seed(second))
    except ValueError as error:
        return Line(sparsity, reason=str(error))
    if found.count < LEAST_SEEDS:
        return Line(sparsity, reason=f"one seed in common; it takes {LEAST_SEEDS} or more")
    return Line(sparsity, Comparison(first, second, found))


def _judged(claim: Claim, line: Line, p: float) -> Judged:
    if line.comparison is None:
        return Judged(line, None, NOT_TESTABLE)
    found = line.comparison.found
    if claim.within is not None:
        verdict = _equivalence(found.low, found.high, claim.within)
    else:
        said = line.comparison.verdict(p)
        verdict = {"better": SUPPORTED, "worse": CONTRADICTED}.get(said, said)
    return Judged(line, None if math.isnan(found.p_t) else p, verdict)


def _equivalence(low: float, high: float, within: float) -> str:
    """Say whether an interval lies inside a margin around 0.

    >>> [_equivalence(*ends, 0.5) for ends in ((-0.1, 0.4), (0.6, 0.9), (0.4, 0.6))]
    ['supported', 'contradicted', 'no evidence']
    """
    if -within <= low and high <= within:
        return SUPPORTED
    return CONTRADICTED if low > within or high < -within else NO_EVIDENCE
