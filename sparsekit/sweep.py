"""The points of an experiment's `sweep:`, a list of grids: override -> value or list of values."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

Point = dict[str, str]


def points(grids: Sequence[Mapping[str, Any]], typed: Sequence[str]) -> Iterator[list[str]]:
    """Overrides of every point of every grid, beyond those that were typed.

    What the user typed selects: of the points that mention its key, those with its value are kept.
    Where no point has that value, it takes the place of theirs.

    >>> grids = [{"method": "dense", "seed": [0, 1]}, {"method": "imp", "seed": [0, 1]}]
    >>> list(points(grids, ["method=imp"]))
    [['seed=0'], ['seed=1']]
    >>> list(points(grids, ["seed=7"]))
    [['method=dense'], ['method=imp']]
    >>> list(points([{"+control": ["shuffle_layers", "reinitialise"]}], ["+control=reinitialise"]))
    [[]]
    """
    fixed = dict(_split(text) for text in typed)
    everything = [point for grid in grids for point in _product(grid)]
    spelling = {key.lstrip("+~"): key for grid in grids for key in grid}
    offered = {key: {p[key] for p in everything if key in p} for key in fixed}
    selecting = {key: value for key, value in fixed.items() if value in offered[key]}
    seen = []
    for point in everything:
        if any(point.get(key, value) != value for key, value in selecting.items()):
            continue
        chosen = [f"{spelling[key]}={value}" for key, value in point.items() if key not in fixed]
        if chosen not in seen:
            seen.append(chosen)
            yield chosen


def spelled(value: Any) -> str:
    """A value of a sweep file in the grammar of overrides.

    >>> spelled([0.5, None, True, {"a": "b c"}])
    "[0.5,null,true,{a:'b c'}]"
    """
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, Mapping):
        return "{" + ",".join(f"{k}:{spelled(v)}" for k, v in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ",".join(map(spelled, value)) + "]"
    text = str(value)
    return text if re.fullmatch(r"[\w.+\-/]*", text) else "'" + text.replace("'", "\\'") + "'"


def key_of(override: str) -> str:
    """What an override sets, without its prefix."""
    return _split(override)[0]


def _product(grid: Mapping[str, Any]) -> Iterator[Point]:
    lists = [values if isinstance(values, list) else [values] for values in grid.values()]
    for values in itertools.product(*lists):
        keys = (key.lstrip("+~") for key in grid)
        yield {key: spelled(value) for key, value in zip(keys, values, strict=True)}


def _split(override: str) -> tuple[str, str]:
    key, _, value = override.partition("=")
    return key.lstrip("+~"), value
