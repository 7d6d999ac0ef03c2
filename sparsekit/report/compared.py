"""Comparisons of several tickets as lines of the table of studies: of groups, and of pairs.

No record names a comparison. It is found by what it is about: a group is that of a row if the
tickets of both are the same, so that what was compared before another seed was there is not shown
for all of them.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from sparsekit.report.rows import Row
from sparsekit.store.store import CorruptResult, Store
from sparsekit.system import schema
from sparsekit.system.files import Damaged

KIND = "comparison"
SKIPPED = "skipped"
NOT_NUMBERS = ("exemplars", "alphas")
"""Parts of a comparison whose mean says nothing."""

Groups = tuple[tuple[str, ...], ...]
"""Of each group its tickets."""

_config = schema.mapping(
    {
        "comparison": schema.mapping({"_target_": schema.text()}),
        "groups": schema.listing(schema.whole(), least=1),
    }
)


@dataclasses.dataclass(frozen=True)
class Found:
    """A comparison in a store: its name, its groups of tickets, and what it says."""

    name: str
    groups: Groups
    content: Mapping[str, Any]

    @property
    def is_pair(self) -> bool:
        """Whether it is about two networks, not about groups."""
        return [len(group) for group in self.groups] == [1, 1]


@dataclasses.dataclass(frozen=True)
class Shown:
    """What a row has of one comparison: of groups once, of pairs once for each."""

    row: Row
    name: str
    contents: tuple[Mapping[str, Any], ...]
    num_networks: int | None
    """Of a group; None for pairs, which are counted."""


def compared(rows: Sequence[Row]) -> tuple[list[Shown], list[str]]:
    """Return the comparisons of rows, and notes on those that are not shown."""
    notes: list[str] = []
    latest: dict[tuple[int, str], dict[Groups, Found]] = {}
    for one in _comparisons(rows, notes):
        place, part = _place(one, rows), _of_a_part(one, rows)
        if part is not None:
            notes.append(part)
        elif place is not None:
            # Of groups the last one counts, whatever its settings; of pairs the last of each.
            latest.setdefault((place, one.name + _against(one, rows[place], rows)), {})[
                one.groups
            ] = one
    shown = [
        Shown(
            rows[place],
            name,
            tuple(one.content for one in found.values()),
            None if all(one.is_pair for one in found.values()) else len(next(iter(found))[0]),
        )
        for (place, name), found in sorted(latest.items(), key=lambda pair: pair[0])
    ]
    return shown, notes


def _comparisons(rows: Sequence[Row], notes: list[str]) -> Iterator[Found]:
    """Yield the comparisons in the stores of these rows, those that were made last at the end."""
    stores = dict.fromkeys(Store(Path(one.store)) for row in rows for one in row.results)
    for store in stores:
        dated = []
        for key in store.keys(KIND):
            try:
                description = store.description(key)
                _config(description["config"], "config")
                content = store.read(key, "study.json")
            except (CorruptResult, Damaged, OSError, ValueError) as error:
                notes.append(f"{error}; this comparison is left out")
                continue
            if SKIPPED not in content:
                dated.append((description["provenance"]["finished"], _found(description, content)))
        yield from (one for _, one in sorted(dated, key=lambda pair: pair[0]))


def _found(description: Mapping[str, Any], content: Mapping[str, Any]) -> Found:
    config, left = description["config"], list(description["inputs"])
    groups = []
    for size in config["groups"]:
        groups.append(tuple(left[:size]))
        left = left[size:]
    return Found(config["comparison"]["_target_"].rpartition(".")[2], tuple(groups), content)


def _tickets(row: Row) -> set[str]:
    return {one.ticket for one in row.results}


def _place(one: Found, rows: Sequence[Row]) -> int | None:
    """Return the row that a comparison is of: with its tickets or, of a pair, with its first."""
    first = set(one.groups[0])
    fits = (first <= _tickets(row) if one.is_pair else first == _tickets(row) for row in rows)
    return next((place for place, is_fit in enumerate(fits) if is_fit), None)


def _against(one: Found, row: Row, rows: Sequence[Row]) -> str:
    if len(one.groups) == 1:
        return ""
    second = set(one.groups[1])
    if second <= _tickets(row):
        return " between seeds"
    for other in rows:
        if second == _tickets(other) or (one.is_pair and second <= _tickets(other)):
            at = "" if other.sparsity in (0, row.sparsity) else f" at {100 * other.sparsity:.2f} %"
            return f" against {other.name}{at}"
    return " against others"


def _of_a_part(one: Found, rows: Sequence[Row]) -> str | None:
    """Say of which row a comparison of groups has a part alone, and is not shown."""
    if one.is_pair:
        return None
    for group in map(set, one.groups):
        whole = any(group == _tickets(row) for row in rows)
        for row in rows:
            if not whole and group < _tickets(row):
                return (
                    f"{one.name} has {len(group)} of the {row.count} seeds of {row.name} at "
                    f"{100 * row.sparsity:.2f} %, and is not shown: ask for it again"
                )
    return None


def numbers_of(content: Mapping[str, Any]) -> dict[str, Any]:
    """Return the parts of a comparison that a table may summarise."""
    return {name: value for name, value in content.items() if name not in NOT_NUMBERS}
