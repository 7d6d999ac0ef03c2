"""The sweeps that runs belong to, as their files tell: commands, code, machines, failures."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from sparsekit.report.collect import Record
from sparsekit.store.named import NAMED
from sparsekit.system.files import MOST_BYTES, Damaged, read_json, refuse_links

SWEEPS, FROZEN, MEMBERS = "sweeps", "sweep.json", "members"
TOLD = ("state", "reason", "error", "node", "log")

Facts = Mapping[str, Any]
"""Plain data of the page."""


def sweeps_of(records: Sequence[Record]) -> list[Facts]:
    """Return the sweeps in the stores of these records that asked for any of them, oldest first.

    One that cannot be read is left out: the page is of results, which do not need it.
    """
    names = {(record.content["experiment"], record.file.stem) for record in records}
    found = [
        facts
        for root in dict.fromkeys(_root(record.file) for record in records)
        for folder in sorted((root / SWEEPS).glob("[!.]*"))
        if (facts := _facts(root, folder, names)) is not None
    ]
    return sorted(found, key=lambda facts: facts["created"])


def sweep_facts(root: Path, name: str) -> Facts | None:
    """Return one sweep by its name, with all of its runs; None where it cannot be read."""
    return _facts(root, root / SWEEPS / name, None)


def _facts(root: Path, folder: Path, names: Iterable[tuple[str, str]] | None) -> Facts | None:
    try:
        refuse_links(root, folder)
        content = read_json(folder / FROZEN, most=MOST_BYTES)
        runs = [run for run in content["runs"] if _is_among(run, names)]
        if not runs:
            return None
        members = [_member(folder, run) for run in runs]
        return {
            "name": folder.name,
            "created": float(content["created"]),
            "command": str(content["command"]),
            "user": str(content.get("user", "")),
            "cluster": str(content["cluster"]["_target_"]).rpartition(".")[2].lower(),
            "commit": str((content.get("code") or {}).get("commit") or "unknown"),
            "changed": bool((content.get("code") or {}).get("changed")),
            "nodes": sorted({one["node"] for one in members if one["node"]}),
            "runs": members,
        }
    except (Damaged, OSError, KeyError, TypeError, ValueError, AttributeError):
        return None


def _is_among(run: Mapping[str, Any], names: Iterable[tuple[str, str]] | None) -> bool:
    return names is None or (run["experiment"], run["name"]) in names


def _member(folder: Path, run: Mapping[str, Any]) -> dict[str, Any]:
    status: Mapping[str, Any] = {}
    with contextlib.suppress(Damaged, OSError):
        status = read_json(folder / MEMBERS / f"{int(run['number']):04d}.json", most=MOST_BYTES)
    told = status if isinstance(status, Mapping) else {}
    texts = {name: str(told.get(name) or "") for name in TOLD}
    return {"run": str(run["name"]), "experiment": str(run["experiment"]), **texts}


def failures(sweeps: Sequence[Facts], records: Sequence[Record]) -> list[Facts]:
    """Return the runs that failed, each once, with what is known of the reason.

    By their records, and by what their jobs wrote down where they failed before there was one.
    """
    found = {}
    for sweep in sweeps:
        for run in sweep["runs"]:
            if run["state"] == "failed":
                found[run["experiment"], run["run"]] = run
    for record in records:
        key = record.content["experiment"], record.file.stem
        if record.content["status"] == "failed":
            error = str(record.content.get("error") or "")
            found[key] = {**found.get(key, _unknown(*key)), "error": error}
        elif record.content["status"] == "done":
            found.pop(key, None)
    return list(found.values())


def _unknown(experiment: str, run: str) -> dict[str, str]:
    return {"run": run, "experiment": experiment, **dict.fromkeys(TOLD, ""), "state": "failed"}


def _root(file: Path) -> Path:
    """Return the store of a record; that of one that lies in none is the folder above its own."""
    return next((place.parent for place in _above(file) if place.name == NAMED), file.parent.parent)


def _above(file: Path) -> Iterator[Path]:
    return iter(file.resolve().parents)
