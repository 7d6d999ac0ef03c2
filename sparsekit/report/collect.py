"""Results as they stand in stores: one per run and cycle. Reads stores only."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from sparsekit.execution.files import read_json
from sparsekit.execution.store import Store

SHOWN_ELSEWHERE = ("seed", "method", "sparsity", "experiment")
NOT_PART_OF_RESULTS = ("runtime", "executor", "logger")


@dataclasses.dataclass(frozen=True)
class Result:
    """One ticket of one run: where it stands, and everything measured about it.

    Runs of one `variant` have the same configuration but for seed and sparsity.
    """

    experiment: str
    method: str
    asked: str
    variant: str
    seed: int
    cycle: int
    sparsity: float
    ticket: str
    metrics: Mapping[str, Any]
    seconds: float


def collect(paths: Iterable[Path]) -> list[Result]:
    """Every finished result below `paths`: record files, folders of them, or whole stores.

    Raises FileNotFoundError where a path holds no record.
    """
    results = []
    for path in paths:
        files = record_files(path)
        if not files:
            raise FileNotFoundError(
                f"{path}: no results here; give a store (runs), a folder in its named/, or a record"
            )
        for file in files:
            results += _of_record(file)
    return results


def unfinished(paths: Iterable[Path]) -> list[str]:
    """One line for every record below `paths` whose run has not come to its end."""
    lines = []
    for file in (file for path in paths for file in record_files(path)):
        record = _read_record(file)
        if record["status"] != "done":
            lines.append(f"{file} is not done: {record['status']} after {_cycles(record)}")
    return lines


def _cycles(record: Mapping[str, Any]) -> str:
    num = len(record["rows"])
    return f"{num} cycle{'s' * (num != 1)}"


def record_files(path: Path) -> list[Path]:
    """The record files a path stands for."""
    if path.is_file():
        return [path]
    named = path / "named"
    return sorted((named if named.is_dir() else path).rglob("*.json"))


def _of_record(file: Path) -> list[Result]:
    record = _read_record(file)
    store = Store(_store_root(file))
    results = []
    for row in record["rows"]:
        if row["is_result"]:
            results.append(_result(record, row, store))
    return results


def _read_record(file: Path) -> Mapping[str, Any]:
    try:
        record: Mapping[str, Any] = read_json(file)
        missing = [name for name in ("rows", "status", "variant") if name not in record]
    except (ValueError, TypeError) as error:
        raise ValueError(f"{file} is no record of a run: {error}") from error
    if missing:
        raise ValueError(f"{file} is no record of a run: it has no {missing[0]!r}")
    return record


def _result(record: Mapping[str, Any], row: Mapping[str, Any], store: Store) -> Result:
    metrics = store.read(row["ticket"], "metrics.json")
    return Result(
        experiment=record["experiment"],
        method=record["choices"]["method"],
        asked=_asked(record),
        variant=record["variant"],
        seed=record["seed"],
        cycle=row["cycle"],
        sparsity=row["sparsity"],
        ticket=row["ticket"],
        metrics=metrics,
        seconds=_seconds(row["ticket"], store),
    )


def _asked(record: Mapping[str, Any]) -> str:
    """What was asked for on the way to this run, beyond what tables show anyway."""
    return " ".join(text for text in record["overrides"] if not _is_uninteresting(text))


def _is_uninteresting(override: str) -> bool:
    key = override.partition("=")[0].lstrip("+~")
    return key in SHOWN_ELSEWHERE or key.partition(".")[0] in NOT_PART_OF_RESULTS


def _seconds(ticket: str, store: Store) -> float:
    inputs: Sequence[str] = store.description(ticket)["inputs"]
    fits = [key for key in inputs if key.startswith("fit-")]
    return float(sum(store.read(key, "cost.json")["seconds"] for key in fits))


def _store_root(record: Path) -> Path:
    for folder in record.resolve().parents:
        if (folder / "stages").is_dir():
            return folder
    raise FileNotFoundError(f"{record} lies in no store: no folder above it has stages/")
