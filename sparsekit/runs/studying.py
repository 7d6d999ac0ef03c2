"""Studying results that are there already: nothing is trained, and no result changes."""

from __future__ import annotations

import dataclasses
import functools
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from sparsekit.configuration import config
from sparsekit.configuration.config import ConfigError
from sparsekit.core.fit_spec import Problem
from sparsekit.method import evaluations, overlaps, robustness, studies
from sparsekit.method.studies import Study, skipped, study
from sparsekit.report.collect import Record
from sparsekit.store.named import NAMED, read_record
from sparsekit.store.store import Store
from sparsekit.system.secrets import MASKED
from sparsekit.training.judge import NetworkJudge
from sparsekit.training.problem import FINGERPRINT, PROBLEM_PARTS, load_data
from sparsekit.training.settings import Runtime

KNOWN: Mapping[str, Study] = {
    one.__name__: one
    for one in (
        evaluations.calibration,
        evaluations.classes,
        evaluations.other_data,
        robustness.corruptions,
        evaluations.attacks,
        evaluations.faults,
        evaluations.hessian_trace,
        studies.particles,
        studies.barriers,
        overlaps.overlaps,
    )
}
"""Studies that are called by their name alone, with their default settings."""

Rows = list[dict[str, Any]]


@dataclasses.dataclass(frozen=True)
class Studied:
    """What was done for one result: its cycle, and of each study by name the reason why it could
    not be made, or None."""

    cycle: int
    outcomes: Mapping[str, str | None]


def study_named(given: str, others: Sequence[str] = ()) -> Study:
    """Return the study of a name, or of a mapping `{_target_: my.function, setting: value}`.

    ConfigError for any other; it also tells of `others` that may be asked for.
    """
    if given not in KNOWN and not given.lstrip().startswith("{"):
        raise ConfigError(
            f"{given!r} is no study; there are {', '.join([*KNOWN, *others])}, and "
            "'{_target_: my_module.my_study, setting: value}'"
        )
    study: Study = named_or_built(given, KNOWN)
    return study


def named_or_built(given: str, known: Mapping[str, Any]) -> Any:
    """Return what has a name, or what a mapping describes; ConfigError where that is a mistake."""
    if given in known:
        return known[given]
    import yaml

    try:
        return config.build(yaml.safe_load(given))
    except Exception as error:
        raise ConfigError(f"{given}: {error.__cause__ or error}") from error


def study_record(
    record: Record, asked: Sequence[Study], runtime: Runtime, *, every: bool
) -> Iterator[Studied]:
    """Study the last result of a finished run, or every one, and note that in its record.

    Yields each as it is done; what was studied before is found in the store. ValueError for a run
    that is not done, whose data are others now, or whose settings were masked.
    """
    content = record.content
    if content["status"] != "done":
        raise ValueError(f"{record.file} is {content['status']}: only finished runs are studied")
    store = Store(root_of(record.file), stale_after=runtime.stale_seconds)
    judge = NetworkJudge(problem_of(record), runtime)
    rows = content["rows"]
    chosen = [index for index, row in enumerate(rows) if row["is_result"]]
    for index in chosen if every else chosen[-1:]:
        ticket = rows[index]["ticket"]
        inputs = store.description(ticket)["inputs"]
        require_same_data(store, ticket, judge, runtime)
        previous = rows[index - 1] if index else None
        if previous is not None and previous["cycle"] == 0 and not previous["is_result"]:
            previous = None  # an anchor, as the loop has it
        keys = study(
            asked, tuple(inputs), ticket, previous and previous["ticket"], judge=judge, store=store
        )
        reasons = skipped(keys, store)
        _note(record.file, store, ticket, keys, reasons)
        yield Studied(rows[index]["cycle"], {name: reasons.get(name) for name in keys})


def _note(
    file: Path, store: Store, ticket: str, keys: Mapping[str, str], reasons: Mapping[str, str]
) -> None:
    """Add studies to the rows of a record with this ticket, as the record is by now."""
    content = dict(read_record(file))
    content["rows"] = [
        row if row["ticket"] != ticket else _with_studies(row, keys, reasons)
        for row in content["rows"]
    ]
    place = file.resolve().relative_to(store.root.resolve() / NAMED)
    store.name(str(place.parent), place.stem, content)


def _with_studies(
    row: Mapping[str, Any], keys: Mapping[str, str], reasons: Mapping[str, str]
) -> dict[str, Any]:
    before = row.get("skipped_studies", {})
    left = {name: reason for name, reason in before.items() if name not in keys}
    return {
        **row,
        "studies": {**row.get("studies", {}), **keys},
        "skipped_studies": {**left, **reasons},
    }


def problem_of(record: Record) -> Problem:
    """Build the problem of a run from its record."""
    given = record.content.get("config", {})
    missing = [name for name in PROBLEM_PARTS if name not in given]
    if missing:
        raise ValueError(f"{record.file} does not say its {', '.join(missing)}")
    parts = json.dumps({name: given[name] for name in PROBLEM_PARTS}, sort_keys=True)
    if MASKED.search(parts):
        raise ValueError(f"{record.file}: a key or password in its settings was not stored")
    return _built(parts)


@functools.lru_cache(maxsize=64)
def _built(parts: str) -> Problem:
    return Problem(**{name: config.build(node) for name, node in json.loads(parts).items()})


def require_same_data(store: Store, ticket: str, judge: NetworkJudge, runtime: Runtime) -> None:
    """Raise ValueError where the data are not those that a ticket was made with."""
    data = load_data(judge.identity, runtime.data_root)
    for key in store.ancestors(ticket):
        if key.startswith("init-") and store.read(key, FINGERPRINT) != data.fingerprint():
            raise ValueError(
                f"{data.name} below {runtime.data_root} is not the data that {ticket} was made "
                "with; restore it"
            )


def root_of(file: Path) -> Path:
    """Return the store that a record lies in."""
    return next(one for one in file.resolve().parents if (one / NAMED).is_dir())
