"""Which combinations a sweep consists of: products, pairs walked in step, what is left out.

A grid maps overrides to a value or a list of values, of which every combination is a point. Its
`zip` maps overrides to lists of one length that are walked in step; its `exclude` lists
combinations that are left out.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from sparsekit.configuration.claims import CLAIMS, claims_in
from sparsekit.configuration.config import ConfigError, suggest
from sparsekit.configuration.overrides import key_of, meaning, refuse_repetition, spelled, text_of

Point = Mapping[str, str]
Combination = tuple[str, ...]
ZIP, EXCLUDE = "zip", "exclude"


@dataclasses.dataclass(frozen=True)
class SweepFile:
    """A sweep as written in a file: `name` is made of the folder's and the file's, "" without one.

    `overrides` are as typed. The lists of the keys of one entry of `zipped` are walked in step. A
    combination that agrees with an entry of `excluded` is left out. `grids` and `claims` take the
    place of the experiment's.
    """

    name: str = ""
    overrides: tuple[str, ...] = ()
    zipped: tuple[tuple[str, ...], ...] = ()
    excluded: tuple[Point, ...] = ()
    grids: tuple[Mapping[str, Any], ...] = ()
    claims: Sequence[Mapping[str, Any]] | None = None


NO_FILE = SweepFile()
FILE_KEYS = {
    "overrides": "overrides",
    ZIP: "zipped",
    EXCLUDE: "excluded",
    "sweep": "grids",
    CLAIMS: "claims",
}


@dataclasses.dataclass(frozen=True)
class Grid:
    """A grid that was checked: `axes` are multiplied, `spelling` has the keys' prefixes."""

    axes: tuple[tuple[Point, ...], ...]
    excluded: tuple[Point, ...]
    spelling: Mapping[str, str]

    def points(self) -> Iterator[Point]:
        """Yield every combination, including those that are excluded."""
        for steps in itertools.product(*self.axes):
            yield {key: value for step in steps for key, value in step.items()}


def points(grids: Sequence[Mapping[str, Any]], typed: Sequence[str]) -> Iterator[Combination]:
    """Yield the overrides of every point of every grid, beyond those that were typed.

    Typed overrides select: of the points that set the same key, those with the typed value are
    kept. If no point has that value, it replaces theirs.

    >>> grids = [{"method": "dense", "seed": [0, 1]}, {"method": "imp", "seed": [0, 1]}]
    >>> list(points(grids, ["method=imp"]))
    [('seed=0',), ('seed=1',)]
    >>> list(points(grids, ["seed=7"]))
    [('method=dense',), ('method=imp',)]
    >>> list(points([{"+control": ["shuffle_layers", "reinitialise"]}], ["+control=reinitialise"]))
    [()]
    >>> pairs = {"zip": {"sparsity": [0.5, 0.9], "train.epochs": [1, 2]}, "seed": [0, 1]}
    >>> list(points([pairs | {"exclude": [{"sparsity": 0.9, "seed": 1}]}], []))[1:]
    [('sparsity=0.5', 'train.epochs=1', 'seed=1'), ('sparsity=0.9', 'train.epochs=2', 'seed=0')]
    """
    fixed = {key_of(text): text_of(text) for text in typed}
    checked = [read_grid(grid) for grid in grids]
    everything = [(grid, point) for grid in checked for point in grid.points()]
    offered = {key: {point.get(key) for _, point in everything} for key in fixed}
    selecting = {key: value for key, value in fixed.items() if value in offered[key]}
    seen = set()
    for grid, point in everything:
        if any(point.get(key, value) != value for key, value in selecting.items()):
            continue
        placed = {key: fixed.get(key, value) for key, value in point.items()}
        spelling = grid.spelling
        chosen = tuple(f"{spelling[k]}={v}" for k, v in point.items() if k not in fixed)
        if chosen not in seen and not any(agrees(placed, entry) for entry in grid.excluded):
            seen.add(chosen)
            yield chosen


def read_grid(content: Mapping[str, Any]) -> Grid:
    """Read the grid of a YAML file; ConfigError for lists of unequal length, idle exclusions."""
    axes, spelling = [], {}
    for key, value in content.items():
        if key == EXCLUDE:
            continue
        axes.append(_zip_axis(value) if key == ZIP else _axis(key, value))
        for name in value if key == ZIP else [key]:
            if _bare(name) in spelling:
                raise ConfigError(f"sweep: {name} is in a grid twice; only one can count")
            spelling[_bare(name)] = name
    excluded = _exclusions("sweep: exclude", content.get(EXCLUDE, []))
    grid = Grid(tuple(axes), excluded, spelling)
    refuse_idle(excluded, list(grid.points()))
    return grid


def combinations(
    axes: Sequence[Sequence[str]], zipped: Sequence[Sequence[str]]
) -> Iterator[Combination]:
    """Yield combinations of one override of each of `axes`, those of `zipped` keys in step.

    >>> list(combinations([["a=1", "a=2"], ["b=3"], ["c=4", "c=5"]], [["a", "c"]]))
    [('a=1', 'c=4', 'b=3'), ('a=2', 'c=5', 'b=3')]
    """
    by_key = {key_of(axis[0]): axis for axis in axes if axis}
    group_of: dict[str, Sequence[str]] = {}
    for group in zipped:
        _check_typed_zip(group, by_key, group_of)
        group_of |= dict.fromkeys(map(_bare, group), group)
    steps: list[list[Combination]] = []
    for axis in axes:
        key = key_of(axis[0]) if axis else ""
        group = group_of.get(key, ())
        if not group:
            steps.append([(text,) for text in axis])
        elif key == _bare(group[0]):
            steps.append(list(zip(*(by_key[_bare(name)] for name in group), strict=True)))
    for chosen in itertools.product(*steps):
        yield tuple(text for step in chosen for text in step)


def point_of(overrides: Sequence[str]) -> Point:
    """Return what a combination sets, by key."""
    return {key_of(text): text_of(text) for text in overrides}


def agrees(point: Point, entry: Point) -> bool:
    """Say whether a combination has the value of every key of an entry.

    >>> agrees({"method": "snip", "sparsity": "0.50"}, {"sparsity": "0.5"})
    True
    """
    return all(key in point and meaning(point[key]) == meaning(entry[key]) for key in entry)


def refuse_idle(excluded: Sequence[Point], everything: Sequence[Point]) -> None:
    """Raise ConfigError for an exclusion that would leave nothing out: it must be a mistake."""
    keys = {key for point in everything for key in point}
    for entry in excluded:
        shown = ",".join(f"{key}={value}" for key, value in entry.items())
        for key in entry:
            if key not in keys:
                raise ConfigError(
                    f"exclude {shown}: the sweep has no key {key}{suggest(key, keys)}"
                )
        if not any(agrees(point, entry) for point in everything):
            raise ConfigError(f"exclude {shown}: no combination of the sweep agrees with it")


def read_sweep(file: Path) -> SweepFile:
    """Read the sweep in a YAML file; ConfigError says what is wrong with it, and what is valid."""
    import yaml

    try:
        content = yaml.safe_load(file.read_text(encoding="utf-8"))
    except RecursionError as error:
        raise ConfigError(f"--sweep {file}: nested too deeply") from error
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ConfigError(f"--sweep {file}: {' '.join(str(error).split())}") from error
    if not isinstance(content, dict) or not content:
        raise ConfigError(f"--sweep {file}: expected {', '.join(FILE_KEYS)}; found {content!r}")
    for key, value in content.items():
        if key not in FILE_KEYS:
            near = suggest(str(key), FILE_KEYS)
            raise ConfigError(f"--sweep {file}: {key}: no such key in a sweep file{near}")
        if not isinstance(value, list):
            raise ConfigError(f"--sweep {file}: {key}={value!r} is not a list")
    try:
        return _from_content(_name_of(file), content)
    except ConfigError as error:
        raise ConfigError(f"--sweep {file}: {error}") from error


def refuse_clash(sweep: SweepFile, typed: Sequence[str]) -> None:
    """Raise ConfigError for what is typed although the file gives it: one would be ignored."""
    given = {key_of(text): text for text in sweep.overrides}
    if sweep.grids:
        given.setdefault("sweep", "sweep")
    if sweep.claims is not None:
        given.setdefault(CLAIMS, CLAIMS)
    for text in typed:
        if key_of(text) in given:
            raise ConfigError(
                f"{text}: the sweep file gives {given[key_of(text)]}; only one can count. What is "
                "typed selects among the values of its `sweep:`, not among its `overrides:`"
            )


def _name_of(file: Path) -> str:
    """Return the name of a sweep file, which no experiment has and no other file of its folder.

    >>> _name_of(Path("experiments/quickstart/sweep.yaml"))
    'quickstart-sweep'
    """
    whole = file.resolve()
    # Nothing reads records in hidden folders.
    return "-".join(filter(None, (whole.parent.name, whole.stem))).lstrip(".")


def _from_content(name: str, content: Mapping[str, Sequence[Any]]) -> SweepFile:
    for text in content.get("overrides", []):
        if not isinstance(text, str):
            raise ConfigError(f"overrides: {text!r} is not text; write one a line: - seed=0,1,2")
    refuse_repetition(content.get("overrides", []))
    given = [key_of(text) for text in content.get("overrides", [])]
    for keys in content.get(ZIP, []):
        if not isinstance(keys, list):
            raise ConfigError(f"zip: {keys!r} is not a list of keys, such as [seed, sparsity]")
        for key in keys:
            if _bare(key) not in given:
                raise ConfigError(
                    f"zip: {key} is not among the file's overrides{suggest(key, given)}"
                )
    for grid in content.get("sweep", []):
        if not isinstance(grid, dict):
            raise ConfigError(f"sweep: {grid!r} is not a grid; give key: value or key: [values]")
    return SweepFile(
        name,
        overrides=tuple(content.get("overrides", [])),
        zipped=tuple(tuple(map(_bare, keys)) for keys in content.get(ZIP, [])),
        excluded=_exclusions("exclude", content.get(EXCLUDE, [])),
        grids=tuple(content.get("sweep", [])),
        claims=claims_in(content.get(CLAIMS)),
    )


def _axis(key: str, value: Any) -> tuple[Point, ...]:
    values = value if isinstance(value, list) else [value]
    return tuple({_bare(key): spelled(one)} for one in values)


def _zip_axis(lists: Any) -> tuple[Point, ...]:
    if not isinstance(lists, Mapping) or not all(isinstance(v, list) for v in lists.values()):
        raise ConfigError(f"sweep: zip={lists!r} is not a mapping of keys to lists")
    _check_lengths({str(key): len(values) for key, values in lists.items()})
    names = [_bare(key) for key in lists]
    return tuple(
        dict(zip(names, map(spelled, step), strict=True))
        for step in zip(*lists.values(), strict=True)
    )


def _check_typed_zip(
    group: Sequence[str], by_key: Mapping[str, Sequence[str]], group_of: Mapping[str, Any]
) -> None:
    shown = ",".join(group)
    keys = [_bare(name) for name in group]
    for key in keys:
        if key not in by_key or len(by_key[key]) < 2:
            raise ConfigError(f"zip {shown}: {key} is not given as a list; give {key}=a,b,...")
        if key in group_of or keys.count(key) > 1:
            raise ConfigError(f"zip {shown}: {key} is walked in step already; name it once")
    _check_lengths({key: len(by_key[key]) for key in keys})


def _check_lengths(lengths: Mapping[str, int]) -> None:
    if len(lengths) < 2:
        raise ConfigError(f"zip {', '.join(lengths)}: two keys or more are walked in step")
    if len(set(lengths.values())) > 1:
        shown = ", ".join(f"{key} has {number}" for key, number in lengths.items())
        raise ConfigError(f"zip: lists that are walked in step must be equally long; {shown}")


def _exclusions(place: str, entries: Any) -> tuple[Point, ...]:
    if not isinstance(entries, list) or not all(isinstance(e, Mapping) and e for e in entries):
        raise ConfigError(f"{place}={entries!r} is not a list of mappings such as {{method: snip}}")
    return tuple({_bare(key): spelled(value) for key, value in one.items()} for one in entries)


def _bare(key: Any) -> str:
    return str(key).lstrip("+~")
