"""What every stage of a store was made from, and who refers to it. Nothing is verified here."""

from __future__ import annotations

import dataclasses
import json
import os
import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from sparsekit.store import schemas
from sparsekit.store.named import NAMED, record_files
from sparsekit.store.references import STAGES
from sparsekit.store.sealing import DESCRIPTION
from sparsekit.sweeps.records import FOLDER
from sparsekit.system.files import MOST_BYTES, Damaged, read_bytes, read_json, refuse_links
from sparsekit.system.folders import walked

TOLD = ("members", "progress")
KEY = re.compile(r"\b[a-z]\w*-[0-9a-f]{20}\b")


@dataclasses.dataclass(frozen=True)
class Made:
    """A stage: its folder, what it was made from, when it was finished, and its settings."""

    folder: Path
    inputs: tuple[str, ...]
    finished: float
    config: Mapping[str, Any]


def stages_of(root: Path) -> Iterator[tuple[str, Path]]:
    """Yield key and place of everything that lies where published stages do, under their names.

    Damaged for a folder of them that is a link out of the store.
    """
    for kind in _entries(root / STAGES):
        refuse_links(root, kind)
        for place in _entries(kind):
            if KEY.fullmatch(place.name) and place.name.partition("-")[0] == kind.name:
                yield place.name, place


def made(folder: Path) -> Made:
    """Read what a stage's description says; Damaged if that is impossible."""
    file = folder / DESCRIPTION
    if folder.is_symlink():
        raise Damaged(f"{folder} is a link, not the folder of a stage")
    try:
        body = read_json(file)
        schemas.description(body, "")
    except (FileNotFoundError, NotADirectoryError) as error:
        raise Damaged(f"{file} is missing") from error
    except Damaged:
        raise
    except ValueError as error:
        raise Damaged(f"{file} is damaged: {error}") from error
    finished = float(body["provenance"]["finished"])
    return Made(folder, tuple(body["inputs"]), finished, body["config"])


def stages_made(root: Path) -> tuple[dict[str, Made], dict[str, str]]:
    """Return what is known of every stage, and by key what is wrong with the others."""
    found: dict[str, Made] = {}
    damaged: dict[str, str] = {}
    for key, place in stages_of(root):
        try:
            found[key] = made(place)
        except Damaged as error:
            damaged[key] = str(error)
    return found, damaged


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


def mentioned(root: Path) -> set[str]:
    """Return the keys that are anywhere in a record or in a file of a sweep, as far as those can be
    read: also of one that is cut off, what is left of it counts."""
    sweeps = (file for file in (root / FOLDER).glob("*/*.json"))
    told = (file for part in TOLD for file in (root / FOLDER).glob(f"*/{part}/*.json"))
    files = [*record_files(root / NAMED), *sweeps, *told]
    return {key for file in files for key in KEY.findall(_text(file))}


def folder_size(folder: Path) -> int:
    """Return the bytes of all files in a folder, or of a file; links are not followed."""
    if folder.is_symlink() or not folder.is_dir():
        return _size(folder)
    files = (os.path.join(place, name) for place, _, names in walked(folder) for name in names)
    return sum(map(_size, files))


def _size(file: str | Path) -> int:
    try:
        return os.lstat(file).st_size
    except FileNotFoundError:
        return 0


def containing(keys: Collection[str], record: Mapping[str, Any]) -> bool:
    """Say whether a record names one of these keys."""
    return any(key in keys for key in KEY.findall(json.dumps(record["rows"])))


def _entries(place: Path) -> list[Path]:
    """List what is not hidden in a folder of the store."""
    try:
        names = sorted(os.listdir(place))
    except (FileNotFoundError, NotADirectoryError):
        return []
    return [place / name for name in names if not name.startswith(".")]


def _text(file: Path) -> str:
    try:
        return read_bytes(file, most=MOST_BYTES).decode(errors="replace")
    except (Damaged, OSError):
        return ""
