"""Results as they are in stores: one per run and cycle. Reads stores only."""

from __future__ import annotations

import dataclasses
import functools
import warnings
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from sparsekit.report.asked import asked
from sparsekit.report.measured import measured_of, read_known
from sparsekit.report.procedure import stages
from sparsekit.report.studies import STUDIED
from sparsekit.store.named import NAMED, read_record, record_files
from sparsekit.store.named import read_records as read_files
from sparsekit.store.references import STAGES
from sparsekit.store.store import CorruptResult, Store
from sparsekit.system import schema
from sparsekit.system.files import Damaged, refuse_links
from sparsekit.system.printing import printable


@dataclasses.dataclass(frozen=True)
class Tuned:
    """Which value of a setting was chosen, of those that were tried, on how many seeds."""

    key: str
    value: str
    tried: tuple[str, ...]
    num_seeds: int


@dataclasses.dataclass(frozen=True)
class Result:
    """One ticket of one run: where it is, and everything measured about it.

    Runs of one `variant` have the same configuration but for seed and sparsity, which is that of
    their source where nothing was pruned; `target` is the sparsity the run was asked for, if any,
    and `status` how far it has come. `labels` are the display names that the run was given (`run`)
    and that of its `method`, `record` is what the run wrote, and `tuned` says how it was chosen
    (`--best-of`). `studies` holds the content of those that were asked for and that the run has, by
    name; `studied` names all it has, and `skipped_studies` says why others are not there.
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
    overrides: tuple[str, ...] = ()
    record: Mapping[str, Any] = dataclasses.field(default_factory=dict, repr=False, compare=False)
    file: str = ""
    tuned: Tuned | None = None
    labels: Mapping[str, str] = dataclasses.field(default_factory=dict)
    store: str = ""
    studied: tuple[str, ...] = ()
    skipped_studies: Mapping[str, str] = dataclasses.field(default_factory=dict)
    studies: Mapping[str, Mapping[str, Any]] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class Record:
    """What a run wrote about itself, and where."""

    file: Path
    content: Mapping[str, Any]


Note = Callable[[str], None]
"""What is told of a file that is damaged and left out."""

Kind = tuple[str, str, str]
"""Experiment, method and variant: runs of one kind differ in seed and sparsity alone."""


def _warn(text: str) -> None:
    warnings.warn(printable(text), stacklevel=4)


def collect(
    paths: Iterable[Path], *, studies: Collection[str] | None = (), note: Note = _warn
) -> list[Result]:
    """Collect every finished result below `paths`: records, folders of them, or whole stores.

    What is damaged is left out, and `note` is told of it: unless it says otherwise, a warning.
    Raises FileNotFoundError where a path holds no record, Damaged where nothing else is left.
    """
    noted: list[str] = []
    results = results_of(read_records(paths, note=noted.append), studies=studies, note=noted.append)
    if noted and not results:
        raise Damaged(in_one_line(noted))
    for text in noted:
        note(text)
    return results


def in_one_line(noted: Sequence[str]) -> str:
    """Return what was noted first, and how much more there is."""
    return f"{noted[0]}{f'; and {len(noted) - 1} more' if len(noted) > 1 else ''}"


def read_records(paths: Iterable[Path], *, note: Note = _warn) -> list[Record]:
    """Read every record below `paths`, once; FileNotFoundError where a path holds none.

    A damaged one among others is left out, and `note` is told of it; Damaged for one that was
    named itself.
    """
    records: dict[Path, Record] = {}
    for path in paths:
        if path.is_file():
            records[path] = Record(path, read_record(path.resolve()))
            continue
        found, damaged = read_files(record_files(record_folder(path)))
        if not found and not damaged:
            raise FileNotFoundError(
                f"{path}: no results here; give a store (runs), a folder in its named/, or a record"
            )
        for error in damaged:
            note(f"{error}; it is left out")
        records |= {file: Record(file, content) for file, content in found.items()}
    return list(records.values())


def last_of(records: Iterable[Record]) -> list[Record]:
    """Return the same records with only the last result of each, where a method of cycles ends."""
    shortened = []
    for record in records:
        rows = [row for row in record.content["rows"] if row["is_result"]][-1:]
        shortened.append(dataclasses.replace(record, content={**record.content, "rows": rows}))
    return shortened


def results_of(
    records: Iterable[Record], *, studies: Collection[str] | None = (), note: Note = _warn
) -> list[Result]:
    """Return the results in `records`, with the studies of these names; None stands for all.

    Only what a report shows is read, and each file once, however many runs share its stage. All of
    it is verified: a result that is damaged, or gone, is left out, and `note` is told of it.
    """
    root_of = functools.cache(_store_root)
    measured = functools.cache(functools.partial(measured_of, stages(read_known)))
    study = functools.cache(_study)
    results = []
    for record in records:
        store = Store(root_of(record.file.resolve().parent))
        for row in record.content["rows"]:
            if row["is_result"]:
                try:
                    found = _result(record.content, row, store, studies, measured, study)
                    results.append(dataclasses.replace(found, file=str(record.file)))
                except (CorruptResult, Damaged, OSError) as error:
                    cycle = f"cycle {row['cycle']} of {record.file}"
                    note(f"{error}; {cycle} is left out, and computed again by the same command")
    return results


def kind_of(record: Mapping[str, Any]) -> Kind:
    return record["experiment"], record["choices"]["method"], record["variant"]


def kind_of_result(result: Result) -> Kind:
    return result.experiment, result.method, result.variant


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


def record_folder(path: Path) -> Path:
    """Return the folder of records that a path stands for."""
    is_store = (path / STAGES).is_dir() or (path / NAMED).is_dir()
    folder = path / NAMED if is_store else path
    refuse_links(path, folder)
    return folder


def _result(
    record: Mapping[str, Any],
    row: Mapping[str, Any],
    store: Store,
    studies: Collection[str] | None,
    measured: Callable[[Store, str], tuple[Mapping[str, Any], float]],
    study: Callable[[Store, str, str], Mapping[str, Any]],
) -> Result:
    skipped = row.get("skipped_studies", {})
    keys = {n: key for n, key in row.get("studies", {}).items() if n not in skipped}
    read = keys if studies is None else [name for name in keys if name in studies]
    metrics, seconds = measured(store, row["ticket"])
    experiment, method, variant = kind_of(record)
    return Result(
        experiment=experiment,
        method=method,
        asked=asked(record["overrides"]),
        variant=variant,
        seed=seed_of(record),
        cycle=row["cycle"],
        sparsity=row["sparsity"] or _inherited(record, metrics),
        ticket=row["ticket"],
        metrics=metrics,
        seconds=seconds,
        target=target_of(record),
        status=record["status"],
        overrides=tuple(record["overrides"]),
        record=record,
        labels=record.get("labels", {}),
        store=str(store.root),
        studied=tuple(keys),
        skipped_studies=skipped,
        studies={name: study(store, keys[name], name) for name in read},
    )


def _inherited(record: Mapping[str, Any], metrics: Mapping[str, Any]) -> float:
    """Return the sparsity of what was not asked to be sparse: that of its source, if it has one.

    Rounded, so that it is the one that its source was asked for, in rows and claims.
    """
    found = metrics.get("sparsity_prunable")
    has_source = record.get("config", {}).get("source") is not None
    return round(found, 4) if has_source and isinstance(found, float) else 0.0


def _study(store: Store, key: str, name: str) -> Mapping[str, Any]:
    content: Mapping[str, Any] = store.read(key, "study.json")
    try:
        STUDIED.get(name, schema.anything)(content, "")
    except ValueError as error:
        raise CorruptResult(f"{key}: study.json is not that of {name}: {error}") from error
    return content


def _store_root(folder: Path) -> Path:
    for root in (folder, *folder.parents):
        if (root / "stages").is_dir():
            return root
    raise FileNotFoundError(f"{folder} lies in no store: no folder above it has stages/")
