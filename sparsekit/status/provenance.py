"""What every stage of a store was made from, and who refers to it. Nothing is verified here."""

from __future__ import annotations

import dataclasses
import json
import os
import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from sparsekit.store.sealing import DESCRIPTION
from sparsekit.sweeps.records import FOLDER
from sparsekit.system.files import read_json

KEY = re.compile(r"\b[a-z]\w*-[0-9a-f]{20}\b")


class Unreadable(ValueError):
    """A file that says what is needed cannot be read; its name and why."""


@dataclasses.dataclass(frozen=True)
class Made:
    """A stage: its folder, what it was made from, when it was finished, and its settings."""

    folder: Path
    inputs: tuple[str, ...]
    finished: float
    config: Mapping[str, Any]


def stages_of(root: Path) -> Iterator[tuple[str, Path]]:
    """Yield key and folder of every published stage."""
    for kind in _folders(root / "stages"):
        for folder in _folders(kind):
            yield folder.name, folder


def made(folder: Path) -> Made:
    """Read what a stage's description says; Unreadable if that is impossible."""
    file = folder / DESCRIPTION
    try:
        body = json.loads(file.read_bytes())
        finished = float(body["provenance"]["finished"])
        return Made(folder, tuple(body["inputs"]), finished, body["config"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise Unreadable(f"{file}: {error}") from error


def ancestors(keys: Iterable[str], stages: Mapping[str, Made]) -> set[str]:
    """Return `keys`, as far as they are stored, and all they were made from."""
    found: set[str] = set()
    pending = list(keys)
    while pending:
        key = pending.pop()
        if key not in found and key in stages:
            found.add(key)
            pending.extend(stages[key].inputs)
    return found


def descendants(keys: Iterable[str], stages: Mapping[str, Made]) -> set[str]:
    """Return `keys`, as far as they are stored, and all that was made from them."""
    uses: dict[str, list[str]] = {}
    for key, one in stages.items():
        for source in one.inputs:
            uses.setdefault(source, []).append(key)
    found: set[str] = set()
    pending = [key for key in keys if key in stages]
    while pending:
        key = pending.pop()
        if key not in found:
            found.add(key)
            pending.extend(uses.get(key, ()))
    return found


def records(root: Path) -> dict[Path, Mapping[str, Any]]:
    """Read every record of a run, by its file; Unreadable if a file is not a record."""
    files = sorted((root / "named").rglob("*.json"))
    found = {file: _whole(file) for file in files if not file.name.startswith(".")}
    for file, record in found.items():
        if not isinstance(record, dict) or not {"status", "rows", "config"} <= set(record):
            raise Unreadable(f"{file} is not a record of a run")
    return found


def mentioned(root: Path) -> set[str]:
    """Return the keys that are anywhere in a record or in a file of a sweep."""
    sweeps = (file for file in (root / FOLDER).glob("*/*.json"))
    told = (file for part in ("members", "progress") for file in _told(root, part))
    files = [*(root / "named").rglob("*.json"), *sweeps, *told]
    return {key for file in files for key in KEY.findall(_text(file))}


def _told(root: Path, part: str) -> Iterator[Path]:
    return (root / FOLDER).glob(f"*/{part}/*.json")


def folder_size(folder: Path) -> int:
    """Return the bytes of all files in a folder."""
    total = 0
    for place, _, names in os.walk(folder):
        for name in names:
            try:
                total += os.lstat(os.path.join(place, name)).st_size
            except FileNotFoundError:
                continue
    return total


def containing(keys: Collection[str], record: Mapping[str, Any]) -> bool:
    """Say whether a record names one of these keys."""
    return any(key in keys for key in KEY.findall(json.dumps(record["rows"])))


def _folders(place: Path) -> list[Path]:
    try:
        entries = list(os.scandir(place))
    except FileNotFoundError:
        return []
    shown = (e for e in entries if not e.name.startswith(".") and e.is_dir())
    return [Path(entry.path) for entry in sorted(shown, key=lambda entry: entry.name)]


def _whole(file: Path) -> Any:
    try:
        return read_json(file)
    except (OSError, ValueError) as error:
        raise Unreadable(f"{file}: {error}") from error


def _text(file: Path) -> str:
    try:
        return file.read_text()
    except FileNotFoundError:
        return ""
    except (OSError, ValueError) as error:
        raise Unreadable(f"{file}: {error}") from error
