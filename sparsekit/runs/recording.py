"""What runs write about themselves: their records in `named/`, for people and for reports."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from sparsekit.configuration.identity import identity_of
from sparsekit.configuration.labels import RUN
from sparsekit.store.named import read_record
from sparsekit.store.results import stages_behind
from sparsekit.system.files import Damaged

if TYPE_CHECKING:
    from sparsekit.runs.runner import PreparedRun


def record(
    prepared: PreparedRun,
    rows: Sequence[Mapping[str, Any]],
    *,
    status: str,
    error: str | None = None,
) -> dict[str, Any]:
    """Write the record of a run as far as it has come, and return it with its path."""
    if prepared.mirror is not None:
        prepared.mirror.follow(status, rows, error)
    before = record_before(prepared)
    content = {
        "experiment": prepared.run.experiment,
        "choices": dict(prepared.run.choices),
        "overrides": list(prepared.run.overrides),
        "labels": _labels(prepared, before),
        "claims": _claims(prepared, before),
        "origins": _origins(prepared, before),
        "seed": prepared.seed,
        "variant": prepared.run.variant,
        "config": identity_of(prepared.run.config),
        "status": status,
        "rows": list(rows),
        "stages": stages_behind(prepared.store, rows) if status == "done" else [],
        "error": error,
    }
    path = prepared.store.name(prepared.run.experiment, prepared.name, content)
    return {**content, "path": str(path)}


def record_before(prepared: PreparedRun) -> Mapping[str, Any]:
    """Return what is recorded of a run so far; nothing for one that is new, or damaged."""
    try:
        return read_record(prepared.store.record(prepared.run.experiment, prepared.name))
    except (Damaged, OSError):
        return {}


def studied_before(prepared: PreparedRun) -> Mapping[str, Mapping[str, str]]:
    """Return what the record of a run that is asked for again knows of studies, by ticket."""
    rows = record_before(prepared).get("rows", ())
    return {row["ticket"]: row.get("studies", {}) for row in rows}


def restate(prepared_runs: Iterable[PreparedRun]) -> None:
    """Give the records of runs that are done the display names and claims that are stated now.

    A run that is done is not begun again, so that it would not do it itself.
    """
    for prepared in prepared_runs:
        before = record_before(prepared)
        known = {"labels": before.get("labels", {}), "claims": before.get("claims")}
        stated = {"labels": _labels(prepared, before), "claims": _claims(prepared, before)}
        if before.get("status") == "done" and known != stated:
            content = {**before, **stated}
            with contextlib.suppress(OSError):  # a record of somebody else's keeps what it says
                prepared.store.name(prepared.run.experiment, prepared.name, content)


def _labels(prepared: PreparedRun, before: Mapping[str, Any]) -> dict[str, str]:
    """Return the display names of a run; one that was given stays until there is another.

    An empty one takes it away.
    """
    given = {name: label for name, label in before.get("labels", {}).items() if name == RUN}
    labels = {**given, **prepared.run.labels}
    return {name: label for name, label in labels.items() if label}


def _claims(prepared: PreparedRun, before: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """Return the claims of the experiment and when they were stated; None if there never were any.

    Claims stay until others are stated, if only an empty list, and the same keep their time.
    """
    known: Mapping[str, Any] | None = before.get("claims")
    claims = prepared.run.claims
    if claims is None or (known is not None and known["list"] == list(claims)):
        return known
    now = prepared.origin.get("created", time.time())
    if known is not None and known["time"] > now:  # a job that was asked for before that
        return known
    return {"time": now, "list": list(claims)}


def _origins(prepared: PreparedRun, before: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Return every launch of a run, the last one last; the same command again adds none.

    Which of them computed a stage, the times tell.
    """
    known: list[Mapping[str, Any]] = list(before.get("origins", ()))
    if not prepared.origin or (
        known and _without_time(known[-1]) == _without_time(prepared.origin)
    ):
        return known
    return [*known, prepared.origin]


def _without_time(origin: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in origin.items() if name != "created"}
