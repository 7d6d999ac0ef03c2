"""Which store a folder is: an id of its own, and the place for which it was given.

STORE/store.json is written by the first command that starts runs there. Copied along with the rest
it says, in the copy, that it is one: it names a folder that is another one. A store that was moved,
is mounted elsewhere or reached by a link is known by its path or by its folder's inode number.

Whatever a store names that lies outside of it (processes that are at work, jobs that wait) belongs
to the store with the id under which it was written down.
"""

from __future__ import annotations

import contextlib
import os
import uuid
from pathlib import Path
from typing import Any

from sparsekit.system.files import read_json, spelled, sync
from sparsekit.system.schema import listing, mapping, text, whole

STORE = "store.json"
LEVELS = 5
MOST_BYTES = 2**16
_schema = mapping(
    {
        "id": text(r"[0-9a-f]{32}", "the id of a store"),
        "path": text(r"/[^\0]*", "an absolute path"),
        "inodes": listing(whole(most=2**64 - 1)),
    }
)


def id_of(root: Path) -> str | None:
    """Return the id of a store, a copy's being that of its original; None if it has none yet."""
    told = _read(root)
    return told["id"] if told else None


def id_around(folder: Path) -> str | None:
    """Return the id of the store in which a folder lies, at most five levels down; else None."""
    for root in (folder, *folder.parents)[: LEVELS + 1]:
        if (found := id_of(root)) is not None:
            return found
    return None


def original_of(root: Path) -> str | None:
    """Return the path of the store that this one is a copy of, as it stood there; None for none."""
    told = _read(root)
    if told is None or _leads_to(told["path"], root):
        return None
    if id_of(Path(told["path"])) != told["id"] and told["inodes"] == _inodes(root, root / STORE):
        return None  # it was moved, or another path leads to it on this machine
    return str(told["path"])


def settle(root: Path) -> None:
    """Give a store an id, and a copy one of its own; note where a store was moved to."""
    told = _read(root)
    if told is None or original_of(root) is not None:
        _write(root, uuid.uuid4().hex)
    elif told["path"] != str(root.resolve()) or told["inodes"] != _inodes(root, root / STORE):
        # Only a note: where it cannot be written it is found again by what it says now.
        with contextlib.suppress(OSError):
            _write(root, told["id"])


def _read(root: Path) -> dict[str, Any] | None:
    """Return what a store says of itself; None where it says nothing that makes sense."""
    try:
        told: dict[str, Any] = read_json(root / STORE, most=MOST_BYTES)
        _schema(told, "")
    except (OSError, ValueError):
        return None
    return told


def _write(root: Path, identity: str) -> None:
    """Replace the file by one that names its own inode, which it keeps as it is renamed."""
    fresh = root / f".{STORE}.{uuid.uuid4().hex[:8]}"
    fresh.touch()
    told = {"id": identity, "path": str(root.resolve()), "inodes": _inodes(root, fresh)}
    fresh.write_text(spelled(told))
    sync(fresh)
    try:
        os.replace(fresh, root / STORE)
    except OSError:
        fresh.unlink()
        raise


def _inodes(*paths: Path) -> list[int]:
    """Return the inode numbers of folder and file: a copy may share one of them, but not both.

    The roots of file systems have the same, and so have files of copies that are hard links.
    """
    return [path.stat().st_ino for path in paths]


def _leads_to(path: str, root: Path) -> bool:
    try:
        return os.path.samefile(path, root)
    except (OSError, ValueError):
        return False
