"""Results as they are in stores: one per run and cycle. Reads stores only."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from sparsekit.store.store import Store
from sparsekit.system.files import parsed, read_json

SHOWN_ELSEWHERE = ("seed", "method", "sparsity", "experiment")
NOT_PART_OF_RESULTS = ("runtime", "cluster", "resources", "executor", "logger")


@dataclasses.dataclass(frozen=True)
class Result:
    """One ticket of one run: where it is, and everything measured about it.

    Runs of one `variant` have the same configuration but for seed and sparsity; `target` is the
    sparsity the run was asked for, if any, and `status` how far it has come. `studies` holds
    the content of those that were asked for and that the run has, by name; `studied` names all it
    has, and `skipped_studies` says why others are not there.
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
    target: float | None = None
    status: str = "done"
    store: str = ""
    studied: tuple[str, ...] = ()
    skipped_studies: Mapping[str, str] = dataclasses.field(default_factory=dict)
    studies: Mapping[str, Mapping[str, Any]] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class Record:
    """What a run wrote about itself, and where."""

    file: Path
    content: Mapping[str, Any]


RECORD: Mapping[str, type | tuple[type, ...]] = {
    "rows": list, "status": str, "variant": str, "experiment": str, "choices": dict,
    "overrides": list, "seed": int,
}  # fmt: skip
ROW: Mapping[str, type | tuple[type, ...]] = {
    "cycle": int, "sparsity": (int, float), "ticket": str, "is_result": bool,
}  # fmt: skip
"""What a report needs of a record, and of each of its rows."""

Kind = tuple[str, str, str]
"""Experiment, method and variant: runs of one kind differ in seed and sparsity alone."""


def collect(paths: Iterable[Path], *, studies: Collection[str] | None = ()) -> list[Result]:
    """Return every finished result below `paths`: record files, folders of them, or whole stores.

    Raises FileNotFoundError if a path holds no record.
    """
    return results_of(read_records(paths), studies=studies)


def read_records(paths: Iterable[Path]) -> list[Record]:
    """Read every record below `paths` once; FileNotFoundError if a path holds none."""
    files: dict[Path, None] = {}
    for path in paths:
        found = record_files(path)
        if not found:
            raise FileNotFoundError(
                f"{path}: no results here; give a store (runs), a folder in its named/, or a record"
            )
        files |= dict.fromkeys(found)
    return [_read_record(file) for file in files]


def last_of(records: Iterable[Record]) -> list[Record]:
    """Return the same records with only the last result of each, where a method of cycles ends."""
    shortened = []
    for record in records:
        rows = [row for row in record.content["rows"] if row["is_result"]][-1:]
        shortened.append(dataclasses.replace(record, content={**record.content, "rows": rows}))
    return shortened


def results_of(records: Iterable[Record], *, studies: Collection[str] | None = ()) -> list[Result]:
    """Return the results in `records`, with the studies of these names; None stands for all.

    Reads only what a report shows, and each file once, however many runs share its stage. All of it
    is verified: CorruptResult for a file that is not what was published.
    """
    root_of = functools.cache(_store_root)
    measured = functools.cache(_measured)
    study = functools.cache(_study)
    results = []
    for record in records:
        store = Store(root_of(record.file.resolve().parent))
        for row in record.content["rows"]:
            if row["is_result"]:
                skipped = row.get("skipped_studies", {})
                keys = {n: key for n, key in row.get("studies", {}).items() if n not in skipped}
                asked = keys if studies is None else [name for name in keys if name in studies]
                content = {name: study(store, keys[name]) for name in asked}
                result = _result(record.content, row, measured(store, row["ticket"]), content)
                place = str(store.root)
                results.append(dataclasses.replace(result, store=place, studied=tuple(keys)))
    return results


def kind_of(record: Mapping[str, Any]) -> Kind:
    return record["experiment"], record["choices"]["method"], record["variant"]


def seed_of(record: Mapping[str, Any]) -> int:
    seed: int = record["seed"]
    return seed


def target_of(record: Mapping[str, Any]) -> float | None:
    """Return the sparsity a run was asked for, even if its method ignores it; None if unknown."""
    return record.get("config", {}).get("sparsity")


def unfinished(records: Iterable[Record]) -> list[str]:
    """Return one line for every record whose run has not come to its end."""
    return [
        f"{record.file} is not done: {record.content['status']} after {_cycles(record.content)}"
        for record in records
        if record.content["status"] != "done"
    ]


def _cycles(record: Mapping[str, Any]) -> str:
    num = len(record["rows"])
    return f"{num} cycle{'s' * (num != 1)}"


def record_files(path: Path) -> list[Path]:
    """Return the record files a path stands for."""
    if path.is_file():
        return [path]
    is_store = (path / "stages").is_dir() or (path / "named").is_dir()
    return sorted((path / "named" if is_store else path).rglob("*.json"))


def _read_record(file: Path) -> Record:
    try:
        content: Mapping[str, Any] = read_json(file)
        problem = _problem(content, RECORD) or _problem_of_rows(content["rows"])
    except (ValueError, TypeError) as error:
        raise ValueError(f"{file} is not a record of a run: {error}") from error
    if problem:
        raise ValueError(f"{file} is not a record of a run: {problem}")
    return Record(file, content)


def _problem_of_rows(rows: Sequence[Any]) -> str | None:
    return next((problem for row in rows if (problem := _problem(row, ROW))), None)


def _problem(content: Any, kinds: Mapping[str, type | tuple[type, ...]]) -> str | None:
    """Say what is wrong with a mapping of a record; None if all that a report needs is there."""
    if not isinstance(content, Mapping):
        return f"expected a mapping, got {str(content)[:40]!r}"
    for name, kind in kinds.items():
        if name not in content:
            return f"it has no {name!r}"
        if not isinstance(content[name], kind):
            return f"{name}={str(content[name])[:40]!r} is of the wrong type"
    if "choices" in kinds and not isinstance(content["choices"].get("method"), str):
        return "it has no method among its 'choices'"
    return None


def _result(
    record: Mapping[str, Any],
    row: Mapping[str, Any],
    measured: tuple[Mapping[str, Any], float],
    studies: Mapping[str, Mapping[str, Any]],
) -> Result:
    metrics, seconds = measured
    experiment, method, variant = kind_of(record)
    return Result(
        experiment=experiment,
        method=method,
        asked=_asked(record),
        variant=variant,
        seed=seed_of(record),
        cycle=row["cycle"],
        sparsity=row["sparsity"],
        ticket=row["ticket"],
        metrics=metrics,
        seconds=seconds,
        target=target_of(record),
        status=record["status"],
        skipped_studies=row.get("skipped_studies", {}),
        studies=studies,
    )


def _asked(record: Mapping[str, Any]) -> str:
    """Return what was asked for on the way to this run, beyond what tables show anyway."""
    return " ".join(text for text in record["overrides"] if not _is_uninteresting(text))


def _is_uninteresting(override: str) -> bool:
    key = override.partition("=")[0].lstrip("+~")
    return key in SHOWN_ELSEWHERE or key.partition(".")[0] in NOT_PART_OF_RESULTS


def _measured(store: Store, ticket: str) -> tuple[Mapping[str, Any], float]:
    """Return the metrics of a ticket, with what teachers cost its fits, and how long these took."""
    description = store.description(ticket)
    inputs: Sequence[str] = description["inputs"]
    fits = [key for key in inputs if key.startswith("fit-")]
    costs = [store.read(key, "cost.json") for key in fits]
    seconds = float(sum(cost["seconds"] for cost in costs))
    metrics = _read(store, ticket, "metrics.json", description["files"])
    taught = [cost["teacher_flops"] for cost in costs if "teacher_flops" in cost]
    return (metrics | {"teacher_flops": sum(taught)} if taught else metrics), seconds


def _read(store: Store, key: str, name: str, files: Mapping[str, str]) -> Any:
    """Read a file of a stage whose description is known, instead of by `store.read`.

    The description is as long as the rest of a ticket. A file that does not match its checksum is
    left to the store to refuse.
    """
    path = store.path(key) / name
    if path.is_file():
        content = path.read_bytes()
        if hashlib.sha256(content).hexdigest() == files.get(name):
            return parsed(content)
    return store.read(key, name)


def _study(store: Store, key: str) -> Mapping[str, Any]:
    content: Mapping[str, Any] = store.read(key, "study.json")
    return content


def _store_root(folder: Path) -> Path:
    for root in (folder, *folder.parents):
        if (root / "stages").is_dir():
            return root
    raise FileNotFoundError(f"{folder} lies in no store: no folder above it has stages/")
