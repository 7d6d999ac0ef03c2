"""Claims with their verdicts as a table, `--claims`."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from sparsekit.evaluation.significance import LEVEL
from sparsekit.report.budget import ratio_notes
from sparsekit.report.claims import WEAKEST_FIRST, Answer, Judged
from sparsekit.report.differences import NO_EVIDENCE, NOT_EQUAL
from sparsekit.report.formats import Table
from sparsekit.report.reading import amount, scale, unit
from sparsekit.report.rows import Row

COLUMNS = (
    "experiment", "claim", "method", "against", "within", "sparsity", "method_sparsity",
    "against_sparsity", "n", "difference_mean", "low", "high", "p_t", "p_t_holm", "verdict",
    "reason", "claim_verdict",
)  # fmt: skip
CAPTION = (
    f"test metric less that of the same seed; {LEVEL:.0%} interval by Student's t; p of the t "
    "test, corrected for all lines that the claims of an experiment plan (Holm). Better: supported "
    f"or contradicted where the interval excludes 0 and corrected p <= {1 - LEVEL:.2g}. As good: "
    "supported where the interval lies inside the margin, contradicted where it lies outside; p "
    "does not count"
)
WHOLE = f"a claim as a whole has the weakest verdict of its lines: {', '.join(WEAKEST_FIRST)}"
NONE = "no claims: none of these experiments states any"


def claims_title(found: Iterable[Answer]) -> str:
    """Name the table, with the unit of its numbers."""
    units = dict.fromkeys(unit(pair[0].metric) for pair in _pairs(found))
    return f"claims ({', '.join(units)})" if units else "claims"


def claims_table(found: Sequence[Answer]) -> Table:
    """Tabulate claims, a line for each sparsity, in the order in which they are stated."""
    lines = [(answer, one) for answer in found for one in answer.lines]
    is_one = len({answer.claim.experiment for answer in found}) <= 1
    undecided = any(one.verdict == NO_EVIDENCE for _, one in lines)
    return Table(
        headers=[
            "claim", "sparsity", "compared", "n", "mean difference", f"{LEVEL:.0%} interval",
            "p (Holm)", "verdict", "as a whole",
        ],
        cells=[_cells(answer, one, is_one=is_one) for answer, one in lines],
        columns=COLUMNS,
        values=[_values(answer, one) for answer, one in lines],
        notes=[
            *([] if lines else [NONE]),
            *([WHOLE] if any(len(answer.lines) > 1 for answer in found) else []),
            *([NOT_EQUAL] if undecided else []),
            *ratio_notes(_pairs(found)),
        ],
        caption=CAPTION if lines else "",
    )  # fmt: skip


def _pairs(found: Iterable[Answer]) -> list[tuple[Row, Row]]:
    made = (one.line.comparison for answer in found for one in answer.lines)
    return [(one.row, one.other) for one in made if one is not None]


def _cells(answer: Answer, one: Judged, *, is_one: bool) -> list[str]:
    claim, made, sparsity = answer.claim, one.line.comparison, one.line.sparsity
    says = claim.says if is_one else f"{claim.experiment}: {claim.says}"
    head = [says, "" if sparsity is None else f"{100 * sparsity:.2f}"]
    verdict = f"{one.verdict}: {one.line.reason}" if one.line.reason else one.verdict
    tail = [verdict, answer.verdict]
    if made is None:
        return [*head, f"{claim.first} less {claim.second}", "", "", "", "", *tail]
    factor, found = scale(made.row.metric), made.found
    margin = "" if claim.within is None else f", within {amount(made.row.metric, claim.within)}"
    return [
        *head,
        f"{_name(made.row, head[1])} less {_name(made.other, head[1])}{margin}",
        str(found.count),
        f"{factor * found.mean:+.2f}",
        f"{factor * found.low:+.2f} to {factor * found.high:+.2f}",
        "" if one.p is None else f"{one.p:.3f}",
        *tail,
    ]


def _name(row: Row, sparsity: str) -> str:
    """Name a row, with its sparsity where that is not the one of the line."""
    own = f"{100 * row.sparsity:.2f}"
    return row.name if own == sparsity else f"{row.name} at {own} %"


def _values(answer: Answer, one: Judged) -> list[object]:
    claim, made = answer.claim, one.line.comparison
    names = [claim.first, claim.second] if made is None else [made.row.name, made.other.name]
    numbers: list[object] = [None] * 8
    if made is not None:
        found = made.found
        p_t = None if one.p is None else found.p_t
        numbers = [
            made.row.sparsity, made.other.sparsity, found.count, found.mean, found.low, found.high,
            p_t, one.p,
        ]  # fmt: skip
    return [
        claim.experiment, claim.says, *names, claim.within, one.line.sparsity, *numbers,
        one.verdict, one.line.reason, answer.verdict,
    ]  # fmt: skip
