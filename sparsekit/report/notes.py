"""Lines below a table: what its numbers are, and what casts doubt on them."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence

from sparsekit.report.budget import budget_notes
from sparsekit.report.collect import Result
from sparsekit.report.rows import Row
from sparsekit.report.tuning import tuning_notes

SPREAD = "mean +- sample standard deviation over the n seeds of a row"
ONE_SEED = "n = 1 is a single seed, whose deviation is unknown"
NOT_ALL = "n = 2 of 3 means that runs of other seeds are not done"


def caption(rows: Sequence[Row]) -> str:
    """Say what is left and right of +-, and how to read n; rows of one seed have no +-."""
    counts = {row.count for row in rows}
    texts = []
    if counts - {1}:
        texts.append(SPREAD)
    if 1 in counts:
        texts.append(ONE_SEED)
    if any(row.unfinished for row in rows):
        texts.append(NOT_ALL)
    return "; ".join(texts)


def all_notes(rows: Sequence[Row]) -> list[str]:
    """Return the notes of a main table, what casts doubt on the numbers first."""
    of_rows = [note for row in rows for note in (*collapses(row), *warnings(row))]
    budget = [*tuning_notes(rows), *budget_notes(rows)]
    return [*of_rows, *budget, *parts(rows), *skipped(rows), *studied(rows)]


def collapses(row: Row) -> list[str]:
    """Return a line for each group of layers that keep nothing in the same seeds of a row."""
    found = _seeds_with(row, lambda result: result.metrics.get("collapsed", ()))
    groups: dict[tuple[str, ...], list[str]] = {}
    for name, tickets in found.items():
        groups.setdefault(tuple(tickets), []).append(name)
    return [
        f"layer collapse: {_where(row)}: {', '.join(names)} {_of_seeds(row, len(tickets))}"
        for tickets, names in groups.items()
    ]


def warnings(row: Row) -> list[str]:
    """Return a line for each warning that the results of a row carry."""
    found = _seeds_with(row, lambda result: result.metrics.get("warnings", ()))
    return [
        f"warning: {_where(row)}: {text} {_of_seeds(row, len(tickets))}"
        for text, tickets in found.items()
    ]


def parts(rows: Sequence[Row]) -> list[str]:
    """Say of which rows there are several at one sparsity, and that they are not pooled."""
    found: dict[tuple[str, float], list[Row]] = {}
    for row in rows:
        if row.part:
            found.setdefault((row.label, row.sparsity), []).append(row)
    return [
        f"{several[0].label} has {len(several)} results of a seed at {100 * sparsity:.2f} %, each "
        "in a row of its own; curves go through the last"
        for (_, sparsity), several in found.items()
        if len(several) > 1
    ]


def studied(rows: Sequence[Row]) -> list[str]:
    """Say which studies there are, and of what; --studies shows them."""
    labels: dict[str, dict[str, None]] = {}
    for row in rows:
        for name in (name for result in row.results for name in result.studied):
            labels.setdefault(name, {})[row.label] = None
    found = [f"{name} (of {', '.join(of)})" for name, of in sorted(labels.items())]
    return [f"studies, shown by --studies: {'; '.join(found)}"] if found else []


def skipped(rows: Sequence[Row]) -> list[str]:
    """Say which studies were asked for and are not there, with the reason."""
    found: dict[tuple[str, str], dict[str, None]] = {}
    for row in rows:
        for result in row.results:
            for name, reason in result.skipped_studies.items():
                found.setdefault((name, reason), {})[_where(row)] = None
    everywhere = {_where(row) for row in rows}
    return [
        f"study {name} was skipped for {_places(places, everywhere)}: {reason}"
        for (name, reason), places in found.items()
    ]


def _places(places: Collection[str], everywhere: Collection[str]) -> str:
    return "every row" if 1 < len(everywhere) == len(places) else ", ".join(places)


def _seeds_with(
    row: Row, texts_of: Callable[[Result], Sequence[str]]
) -> Mapping[str, Sequence[str]]:
    """Return texts, and the tickets that carry them."""
    found: dict[str, list[str]] = {}
    for result in row.results:
        for text in dict.fromkeys(texts_of(result)):
            found.setdefault(text, []).append(result.ticket)
    return found


def _where(row: Row) -> str:
    return f"{row.name} at {100 * row.sparsity:.2f} %"


def _of_seeds(row: Row, count: int) -> str:
    return f"({count} of {row.count} seeds)"
