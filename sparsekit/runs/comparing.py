"""Comparing results that are there already: groups of seeds, as reports make rows of them."""

from __future__ import annotations

import dataclasses
import functools
import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from sparsekit.method import comparisons
from sparsekit.method.comparisons import Compared, Comparison, ensure_comparison
from sparsekit.report.collect import Record, Result, last_of, read_records, results_of
from sparsekit.report.differences import label_of
from sparsekit.report.rows import Row, rows_of
from sparsekit.runs.studying import named_or_built, problem_of, require_same_data, root_of
from sparsekit.store.identity import describe
from sparsekit.store.store import Store
from sparsekit.training.judge import NetworkJudge
from sparsekit.training.settings import Runtime

Form = Literal["group", "groups", "pairs"]
FORMS: Mapping[str, Form] = {
    "ensembles": "group",
    "exemplars": "groups",
    "connectivity": "pairs",
    "mask_overlap": "pairs",
}
KNOWN: Mapping[str, Comparison] = {name: getattr(comparisons, name) for name in FORMS}
"""Comparisons that are called by their name alone, with their default settings."""


@dataclasses.dataclass(frozen=True)
class Side:
    """A row of a report, and of its results those that are compared."""

    row: Row
    results: tuple[Result, ...]

    @property
    def name(self) -> str:
        """Say of which row it is."""
        return f"{self.row.name} at {100 * self.row.sparsity:.2f} %"


@dataclasses.dataclass(frozen=True)
class Done:
    """What was compared; why it could not be, if so; and whether that is for the user to mend."""

    what: str
    reason: str | None = None
    is_refused: bool = False


def comparison_named(given: str) -> Comparison | None:
    """Return the comparison of a name, or of a mapping with settings; None for what is none."""
    if given in KNOWN:
        return KNOWN[given]
    if not given.lstrip().startswith("{"):
        return None
    function: Comparison = named_or_built(given, {})
    return function if _path(function) in map(_path, KNOWN.values()) else None


def compare(
    records: Sequence[Record],
    function: Comparison,
    runtime: Runtime,
    *,
    against: str | None,
    every: bool,
    damaged: Sequence[str] = (),
) -> Iterator[Done]:
    """Make one comparison of the last results of runs, or of those of every cycle.

    Groups are the seeds of one method at one sparsity. A group one of whose runs is not done, or of
    which something is damaged, is refused: nothing is made of a part. `against`: a method among
    them, or a path to other results. ValueError where there is nothing to compare.
    """
    require_against(function, against)
    name = name_of(function)
    form = FORMS[name]
    noted = list(damaged)
    rows = _rows(records, every, noted)
    elsewhere = [] if against is None else _elsewhere(rows, against)
    others = _rows(elsewhere, every, noted)
    if against is not None and not elsewhere:
        others = [row for row in rows if row.label == label_of(against, rows)]
    if noted and form != "pairs":
        raise ValueError(f"{name}: nothing is made of a part of a group, and {noted[0]}")
    judge_of = functools.cache(functools.partial(_judge, [*records, *elsewhere], runtime))
    sides = _sides(form, rows, None if against is None else others, is_any=bool(elsewhere))
    is_empty = True
    for one in sides:
        is_empty = False
        yield one if isinstance(one, Done) else _made(function, form, one, judge_of, runtime)
    if is_empty:
        raise ValueError(f"{name}: there are no two finished results to compare")


def require_against(function: Comparison, against: str | None) -> None:
    """Raise ValueError unless there is a second group where one is needed, and nowhere else."""
    form, name = FORMS[name_of(function)], name_of(function)
    if form == "groups" and against is None:
        raise ValueError(f"{name} compares two groups: say --against METHOD, such as dense")
    if form == "group" and against is not None:
        raise ValueError(f"{name} is of one group: leave out --against {against}")


def name_of(function: Comparison) -> str:
    """Return the name of a comparison, without its settings."""
    return _path(function).rpartition(".")[2]


def _judge(records: Sequence[Record], runtime: Runtime, key: str) -> NetworkJudge:
    """Return the judge of a ticket, once its data are known to be those it was made with."""
    record = next(
        one for one in records if any(row["ticket"] == key for row in one.content["rows"])
    )
    judge = NetworkJudge(problem_of(record), runtime)
    require_same_data(Store(root_of(record.file)), key, judge, runtime)
    return judge


def _made(
    function: Comparison,
    form: Form,
    sides: Sequence[Side],
    judge_of: Callable[[str], NetworkJudge],
    runtime: Runtime,
) -> Done:
    what = " against ".join(dict.fromkeys(side.name for side in sides))
    if form == "pairs":
        what += f", seeds {' and '.join(str(side.results[0].seed) for side in sides)}"
    results = [result for side in sides for result in side.results]
    identities = [judge_of(one.ticket).identity for one in results]
    problems = [describe([one.task, one.data]) for one in identities]
    reason = None if form == "pairs" else _incomplete(sides)
    if len({one.store for one in results}) > 1:
        reason = "they lie in several stores"
    elif any(one != problems[0] for one in problems):
        reason = "they are of different tasks or data"
    if reason is not None:
        return Done(what, reason, is_refused=True)
    store = Store(Path(results[0].store), stale_after=runtime.stale_seconds)
    groups = tuple(tuple(result.ticket for result in side.results) for side in sides)
    return Done(what, ensure_comparison(function, Compared(groups, judge_of, store))[1])


def _rows(records: Sequence[Record], every: bool, noted: list[str]) -> list[Row]:
    done = [record for record in records if record.content["status"] == "done"]
    results = results_of(done if every else last_of(done), note=noted.append)
    return rows_of(results, records)


def _elsewhere(rows: Sequence[Row], against: str) -> list[Record]:
    """Return the records at a path; none where `against` is a method among these rows."""
    try:
        label_of(against, rows)
    except ValueError as error:
        if not Path(against).exists():
            raise ValueError(f"{error}, and no such path") from None
        return read_records([Path(against)])
    return []


def _sides(
    form: Form, rows: Sequence[Row], others: Sequence[Row] | None, *, is_any: bool
) -> Iterator[tuple[Side, ...] | Done]:
    """Yield what is compared with what, and what has nothing beside it.

    `is_any`: whether a single other row is held against those of any sparsity, dense or not.
    """
    for row in rows:
        if others is None:
            yield from _within(form, row)
            continue
        if {one.ticket for one in row.results} & {r.ticket for one in others for r in one.results}:
            continue  # not with itself
        other = _beside(row, others, is_any)
        if other is None:
            yield Done(Side(row, ()).name, "the others have nothing at this sparsity")
        elif form == "groups":
            yield Side(row, row.results), Side(other, other.results)
        else:
            yield from _by_seed(row, other)


def _within(form: Form, row: Row) -> Iterator[tuple[Side, ...]]:
    if form == "group":
        yield (Side(row, row.results),)
        return
    for two in itertools.combinations(row.results, 2):
        yield tuple(Side(row, (one,)) for one in two)


def _beside(row: Row, others: Sequence[Row], is_any: bool) -> Row | None:
    same = [other for other in others if other.sparsity == row.sparsity]
    if not same and (is_any or all(other.sparsity == 0 for other in others)):
        same = list(others)
    return same[0] if len(same) == 1 else None


def _by_seed(row: Row, other: Row) -> Iterator[tuple[Side, Side]]:
    if row.count == other.count == 1:
        yield Side(row, row.results), Side(other, other.results)
        return
    by_seed = {one.seed: one for one in other.results}
    for one in row.results:
        if one.seed in by_seed:
            yield Side(row, (one,)), Side(other, (by_seed[one.seed],))


def _incomplete(sides: Sequence[Side]) -> str | None:
    missing = [
        f"{side.name} is not done for seeds {', '.join(map(str, side.row.unfinished))}"
        for side in sides
        if side.row.unfinished
    ]
    return f"{'; '.join(missing)}: nothing is made of a part of a group" if missing else None


def _path(function: Any) -> str:
    path: str = describe(function)["_target_"]
    return path
