"""Any study as a table: the numbers in its result, by where they stand."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from sparsekit.report.compared import Shown, compared, numbers_of
from sparsekit.report.formats import Table
from sparsekit.report.notes import caption, skipped
from sparsekit.report.reading import number
from sparsekit.report.rows import Row
from sparsekit.report.spread import Spread

NAMES = ("name", "kind", "layer")
"""Items of a list that say one of these are told apart by it."""
COLUMNS = ("method", "sparsity", "study", "measure", "mean", "std", "n")
HEADERS = ("method", "sparsity", "study", "measure", "value", "n")
NONE = "no run here has studies (method.studies)"


def studies_table(rows: Sequence[Row]) -> Table:
    """Make a line for each number of each study of each row; `n` counts the seeds that have it.

    Comparisons come last: of groups `n` counts the networks, of pairs the pairs.
    """
    lines = [
        (row, study, measure, spread)
        for row in rows
        for study in dict.fromkeys(name for result in row.results for name in result.studies)
        for measure, spread in _spreads(row, study).items()
    ]
    comparisons, left_out = compared(rows)
    lines += [
        (one.row, one.name, measure, spread)
        for one in comparisons
        for measure, spread in _of_comparison(one).items()
    ]
    heads = [[row.name, f"{100 * row.sparsity:.2f}", study] for row, study, *_ in lines]
    return Table(
        headers=HEADERS,
        cells=[
            [*head, measure, number(spread), str(spread.count)]
            for head, (*_, measure, spread) in zip(heads, lines, strict=True)
        ],
        columns=COLUMNS,
        values=[
            [row.name, row.sparsity, study, measure, spread.mean, spread.deviation, spread.count]
            for row, study, measure, spread in lines
        ],
        notes=[*([] if lines else [NONE]), *skipped(rows), *left_out],
        caption=caption(rows) if lines else "",
    )


def _spreads(row: Row, study: str) -> dict[str, Spread]:
    seeds = [measures(one.studies[study]) for one in row.results if study in one.studies]
    names = dict.fromkeys(name for seed in seeds for name in seed)
    return {name: Spread.of([seed[name] for seed in seeds if name in seed]) for name in names}


def _of_comparison(one: Shown) -> dict[str, Spread]:
    found = [measures(numbers_of(content)) for content in one.contents]
    if one.num_networks is not None:
        return {name: Spread(value, None, one.num_networks) for name, value in found[-1].items()}
    names = dict.fromkeys(name for pair in found for name in pair)
    return {name: Spread.of([pair[name] for pair in found if name in pair]) for name in names}


def measures(study: Mapping[str, Any]) -> dict[str, float]:
    """Return the numbers in the result of a study, by their path.

    Numbers below a list are summarised, because lists of two seeds need not be as long: mean, least
    and most. An item with a name or a layer of its own is kept apart. Of a list of points (x, y)
    with ascending x, y is summarised, with its first and last value; of a square matrix with a
    diagonal of zeros, what is above the diagonal.

    >>> measures({"a": {"b": 1, "c": "text"}, "d": [1.0, 3.0]})
    {'a.b': 1.0, 'd.mean': 2.0, 'd.min': 1.0, 'd.max': 3.0}
    >>> measures({"layers": [{"name": "fc", "zeros": 0.5}]})
    {'layers.fc.zeros': 0.5}
    >>> measures({"curve": [[0, 0.5], [1, 0.75], [2, 0.25]]})["curve.last"]
    0.25
    """
    alone: dict[str, float] = {}
    several: dict[str, list[float]] = {}
    for path, value, is_one_of_many in _leaves(study, "", False):
        if is_one_of_many:
            several.setdefault(path, []).append(value)
        else:
            alone[path] = value
    return alone | {
        f"{path}.{name}": value
        for path, values in several.items()
        for name, value in _summary(values).items()
    }


def _summary(values: Sequence[float]) -> dict[str, float]:
    return {"mean": sum(values) / len(values), "min": min(values), "max": max(values)}


def _leaves(value: Any, path: str, is_one_of_many: bool) -> Iterator[tuple[str, float, bool]]:
    """Yield every number below a value, its path, and whether it stands in a list."""
    if isinstance(value, int | float):
        yield path, float(value), is_one_of_many
    elif isinstance(value, Mapping):
        for name, below in value.items():
            yield from _leaves(below, f"{path}.{name}" if path else str(name), is_one_of_many)
    elif _is_curve(value):
        yield f"{path}.first", float(value[0][1]), is_one_of_many
        yield f"{path}.last", float(value[-1][1]), is_one_of_many
        for _, y in value:
            yield path, float(y), True
    elif _are_distances(value):
        for i, j in itertools.combinations(range(len(value)), 2):
            yield path, float(value[i][j]), True
    elif isinstance(value, list):
        paths = [_path_of_item(item, path) for item in value]
        for item, own in zip(value, paths, strict=True):
            is_listed = own == path or paths.count(own) > 1 or "kind" in item
            yield from _leaves(item, own, is_listed or is_one_of_many)


def _is_curve(value: Any) -> bool:
    """Say whether these are at least three points (x, y) with ascending x; two may be a matrix."""
    if not isinstance(value, list) or len(value) < 3:
        return False
    if not all(isinstance(one, list) and len(one) == 2 for one in value):
        return False
    if not all(isinstance(number, int | float) for point in value for number in point):
        return False
    return all(left[0] < right[0] for left, right in itertools.pairwise(value))


def _are_distances(value: Any) -> bool:
    """Say whether this is a square of numbers with zeros on the diagonal, such as distances."""
    if not isinstance(value, list) or len(value) < 2:
        return False
    if not all(isinstance(row, list) and len(row) == len(value) for row in value):
        return False
    if not all(isinstance(number, int | float) for row in value for number in row):
        return False
    return all(value[i][i] == 0 for i in range(len(value)))


def _path_of_item(item: Any, path: str) -> str:
    if not isinstance(item, Mapping):
        return path
    own_names = [str(item[name]) for name in NAMES if isinstance(item.get(name), str)]
    return ".".join([path, *own_names[:1]])
