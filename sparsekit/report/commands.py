"""The command that makes a number again, and what is known of how it was made."""

from __future__ import annotations

import argparse
import os
import shlex
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from sparsekit.report.asked import key_of
from sparsekit.report.collect import Result
from sparsekit.report.rows import Row
from sparsekit.store.store import Store

PROGRAM = "python -m sparsekit.run"
WHERE_IT_RAN = ("cluster", "resources", "executor", "label", "method.label", "claims")
NO_SWEEP = "sweep=[]"
FOLDERS = ("--config-dir", "-cd")


def command_of(record: Mapping[str, Any]) -> str:
    """Return the command that composes exactly this run, wherever it will be computed.

    It has all that was asked for, typed or by a sweep, but not the rest of that sweep, nor how jobs
    are queued. What is masked in a record is masked here.

    >>> command_of({"overrides": ["+experiment=quickstart", "method=imp", "resources.gpus=1"]})
    "python -m sparsekit.run +experiment=quickstart method=imp 'sweep=[]'"
    """
    overrides = [text for text in record["overrides"] if _is_of_the_run(text)]
    # Else an experiment's own sweep would make more runs of it.
    alone = [] if any(key_of(text) == "sweep" for text in overrides) else [NO_SWEEP]
    folders = [text for one in _folders(record) for text in (FOLDERS[0], one)]
    return f"{PROGRAM} {shlex.join([*folders, *overrides, *alone])}"


def command_lines(rows: Sequence[Row]) -> list[str]:
    """Return for each number of a table the command and the key of the ticket that it is from."""
    lines = []
    for row, result in _numbers(rows):
        lines += [_head(row, result), f"  {command_of(result.record)}"]
    return lines


def provenance_lines(rows: Sequence[Row]) -> list[str]:
    """Return for each number of a table how it was made: when, with which command and code, with
    which versions, on which machine, and at what cost."""
    lines = []
    for row, result in _numbers(rows):
        lines.append(_head(row, result))
        told = provenance_of(result)
        lines += [f"  {name}: {value}" for name, value in told.items() if value]
    return lines


def provenance_of(result: Result) -> dict[str, str]:
    """Return what is known of how a result was made; what older releases did not note is ""."""
    description = Store(Path(result.store)).description(result.ticket)
    made = description["provenance"]
    origin = _origin(result.record.get("origins", ()), made["finished"])
    total = result.metrics.get("total_seconds")
    flops = result.metrics.get("training_flops_relative")
    return {
        "command as given": origin.get("command", ""),
        "asked for": _asked_for(origin),
        "code": code_text(origin.get("code", {})),
        "versions": ", ".join(f"{n} {v}" for n, v in made.get("versions", {}).items()),
        "machine": ", ".join(str(v) for v in made.get("machine", {}).values() if v),
        "finished": _when(made["finished"]),
        "cost": _joined(
            f"{result.seconds:.1f} s for its own fits",
            "" if total is None else f"{total:.1f} s with all before",
            "" if flops is None else f"training FLOPs of {flops:.3g} dense trainings",
        ),
        "configuration": result.file,
        "stage": f"python -m sparsekit.status why {result.ticket} --store {result.store}",
    }


def code_text(code: Mapping[str, Any]) -> str:
    """Say which commit of the package it was, and whether files had been changed.

    >>> code_text({"commit": "abc", "changed": True})
    'commit abc, with changes that were not committed'
    """
    if not code.get("commit"):
        return ""
    changed = {True: ", with changes that were not committed", False: ", unchanged"}
    return f"commit {code['commit']}{changed.get(code.get('changed'), '')}"  # type: ignore[arg-type]


def _numbers(rows: Sequence[Row]) -> Iterator[tuple[Row, Result]]:
    return ((row, result) for row in rows for result in row.results)


def _head(row: Row, result: Result) -> str:
    return f"{row.name} at {100 * row.sparsity:.2f} %, seed {result.seed}: {result.ticket}"


def _is_of_the_run(override: str) -> bool:
    key = key_of(override)
    return key not in WHERE_IT_RAN and key.partition(".")[0] not in WHERE_IT_RAN


def _origin(origins: Sequence[Mapping[str, Any]], finished: float) -> Mapping[str, Any]:
    """Return the launch that made what was finished then: the last one before."""
    before = [one for one in origins if one["created"] <= finished]
    # Of stages that were there before the first launch, it is not known.
    return before[-1] if before else {}


def _folders(record: Mapping[str, Any]) -> list[str]:
    """Return the folders of configurations that a run was given, as absolute paths."""
    origins = record.get("origins", ())
    if not origins:
        return []
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument(*FOLDERS, action="append", default=[], dest="folders")
    try:
        known, _ = parser.parse_known_args(shlex.split(origins[-1]["command"]))
    except (ValueError, SystemExit):  # a command that was noted by hand
        return []
    return [os.path.join(origins[-1].get("folder", ""), one) for one in known.folders]


def _asked_for(origin: Mapping[str, Any]) -> str:
    if not origin:
        return ""
    return f"{_when(origin['created'])} by {origin.get('user', 'an unknown user')}"


def _when(seconds: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(seconds))


def _joined(*parts: str) -> str:
    return ", ".join(filter(None, parts))
