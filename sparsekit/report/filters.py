"""Which results are shown: conditions on what runs were asked for, `--where method=imp`."""

from __future__ import annotations

import dataclasses
import difflib
import operator
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from sparsekit.report.collect import Record

CONDITION = re.compile(r"([^<>=!]+?)\s*(<=|>=|!=|<|>|=)\s*(.*)", re.DOTALL)
ORDERS: Mapping[str, Callable[[float, float], bool]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}
OF_ROWS = ("cycle", "sparsity")
BUILT_IN = ("method", "label", "experiment", "seed", "status", *OF_ROWS)
ABSENT = object()


@dataclasses.dataclass(frozen=True)
class Condition:
    """A key, how it is compared, and with what; of several values any may be equal."""

    key: str
    sign: str
    value: str

    def holds(self, found: Sequence[Any]) -> bool:
        """Say whether it holds for a key that has these values: a name may be spelled two ways."""
        if self.sign in ORDERS:
            return any(self._is_ordered(one) for one in found)
        texts = (self.value, *self.value.split(","))  # a label may have commas of its own
        is_equal = any(_equal(one, text) for one in found for text in texts)
        return is_equal == (self.sign == "=")

    def _is_ordered(self, found: Any) -> bool:
        left, right = _number(found), _number(self.value)
        if right is None:
            raise ValueError(f"--where {self.text}: {self.value!r} is not a number")
        return left is not None and ORDERS[self.sign](left, right)

    @property
    def text(self) -> str:
        return f"{self.key}{self.sign}{self.value}"


def conditions(texts: Iterable[str]) -> list[Condition]:
    """Read what was typed; ValueError for what is not a condition.

    >>> conditions(["train.epochs>=10"])
    [Condition(key='train.epochs', sign='>=', value='10')]
    """
    found = []
    for text in texts:
        match = CONDITION.fullmatch(text.strip())
        if match is None:
            raise ValueError(f"--where {text}: expected KEY=VALUE, or <, <=, >, >=, !=")
        found.append(Condition(*match.groups()))
    return found


def filtered(records: Sequence[Record], asked: Sequence[Condition]) -> list[Record]:
    """Return the records, and of those the rows, for which every condition holds.

    The keys are method (its own name or its label), label, experiment, seed, status, cycle and
    sparsity of a result, groups such as model, and the path of any setting. ValueError for a key
    that no record has, and if nothing is left.
    """
    if not asked or not records:
        return list(records)
    for one in asked:
        _check_key(one, records)
    of_runs = [one for one in asked if one.key not in OF_ROWS]
    of_rows = [one for one in asked if one.key in OF_ROWS]
    kept = [
        dataclasses.replace(record, content={**record.content, "rows": rows})
        for record in records
        if all(one.holds(values(record.content, one.key)) for one in of_runs)
        and (rows := _rows(record.content, of_rows))
    ]
    if not kept:
        raise ValueError(f"--where {' '.join(one.text for one in asked)}: no result is like that")
    return kept


def values(record: Mapping[str, Any], key: str) -> list[Any]:
    """Return what a key means in a record: none, one, or two spellings of a name."""
    labels = record.get("labels", {})
    choices: Mapping[str, Any] = record["choices"]
    if key == "method":
        return [choices["method"], *labels.values()]
    if key == "label":
        return list(labels.values())
    if key in ("experiment", "seed", "status"):
        return [record[key]]
    if key in choices:
        return [choices[key]]
    found = record.get("config", {})
    for part in key.split("."):
        found = found.get(part, ABSENT) if isinstance(found, Mapping) else ABSENT
    return [] if found is ABSENT or isinstance(found, Mapping) else [found]


def keys_of(record: Mapping[str, Any]) -> Iterator[str]:
    """Yield every key that a condition on a record may have."""
    yield from BUILT_IN
    yield from record["choices"]
    yield from _paths(record.get("config", {}), "")


def _paths(node: Mapping[str, Any], prefix: str) -> Iterator[str]:
    for name, value in node.items():
        if isinstance(value, Mapping):
            yield from _paths(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}"


def _rows(record: Mapping[str, Any], asked: Sequence[Condition]) -> list[Mapping[str, Any]]:
    rows = record["rows"]
    return [row for row in rows if all(one.holds([row[one.key]]) for one in asked)]


def check_key(option: str, key: str, records: Iterable[Record]) -> None:
    """Raise ValueError for a key that no record has, naming those that are near."""
    known = {name for record in records for name in keys_of(record.content)}
    if key in known:
        return
    lasts = {name for name in known if name.rpartition(".")[2] == key}
    near = sorted(lasts) or difflib.get_close_matches(key, sorted(known), n=3, cutoff=0.6)
    told = f"; nearest: {', '.join(near)}" if near else "; such as method, seed, train.epochs"
    raise ValueError(f"{option}: no result here has a key {key}{told}")


def _check_key(one: Condition, records: Iterable[Record]) -> None:
    check_key(f"--where {one.text}", one.key, records)


def _equal(found: Any, text: str) -> bool:
    left, right = _number(found), _number(text)
    if left is not None and right is not None:
        return left == right
    return spelled(found) == text.strip()


def spelled(value: Any) -> str:
    """Write a value as it would be typed.

    >>> spelled(None), spelled(True), spelled([1, 2])
    ('null', 'true', '[1,2]')
    """
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, list):
        return f"[{','.join(map(spelled, value))}]"
    return str(value)


def _number(value: Any) -> float | None:
    if isinstance(value, bool):
        return None
    try:
        return float(value)
    except (TypeError, ValueError):
        return None
