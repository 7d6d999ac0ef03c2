"""What makes a stage whole: a description with the checksum of every file, written last."""

from __future__ import annotations

import contextlib
import hashlib
import os
import time
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sparsekit.store import schemas
from sparsekit.store.claims import HEARTBEAT
from sparsekit.store.identity import Stage, canonical, stage_key
from sparsekit.system.files import (
    MOST_BYTES,
    Damaged,
    checksum,
    parsed,
    read_bytes,
    spelled,
    sync,
    write_json,
)
from sparsekit.system.folders import remove_tree
from sparsekit.system.machine import machine, versions

DESCRIPTION = "description.json"
SCRATCH = "scratch"
SESSION = os.environ.setdefault("SPARSEKIT_SESSION", uuid.uuid4().hex)
_IDENTITY = ("kind", "config", "inputs", "version")


class CorruptResult(RuntimeError):
    """A stored result whose files do not match their checksums."""


def seal(stage: Stage, folder: Path, started: float) -> None:
    """Write the description, last and with the checksum of every other file, down to the disk.

    Raises FileNotFoundError if another process has taken the folder over.
    """
    _discard(folder / SCRATCH)
    names = sorted(path.name for path in folder.iterdir() if path.name != HEARTBEAT)
    for name in names:
        sync(folder / name)
    provenance = {
        "session": SESSION,
        "started": started,
        "finished": time.time(),
        "versions": versions(),
        "machine": machine(),
    }
    body = {
        **stage.description(),
        "key": stage.key,
        "files": {name: checksum(folder / name) for name in names},
        "provenance": provenance,
    }
    body["checksum"] = hashlib.sha256(canonical(body).encode()).hexdigest()
    write_json(folder / DESCRIPTION, body)
    # Must exist: nothing creates it but a claim, so a folder with one is still the one we claimed.
    (folder / HEARTBEAT).unlink()
    sync(folder)


def verify(folder: Path, key: str) -> None:
    """Raise CorruptResult unless every byte of a published stage is what was published.

    OSError where it cannot be read for other reasons, such as missing permissions.
    """
    files = read_description(folder, key)["files"]
    try:
        damaged = [name for name, digest in files.items() if checksum(folder / name) != digest]
    except (FileNotFoundError, NotADirectoryError) as error:
        raise CorruptResult(f"{key}: a file is missing: {error.filename}") from error
    except Damaged as error:
        raise CorruptResult(f"{key}: {error}") from error
    if damaged:
        raise CorruptResult(f"{key}: checksum mismatch in {', '.join(damaged)}")


def read_description(folder: Path, key: str) -> dict[str, Any]:
    """Read the description of a published stage; CorruptResult unless it is what was published."""
    if folder.is_symlink():
        raise CorruptResult(f"{key}: {folder} is a link, not the folder of a stage")
    try:
        text = read_bytes(folder / DESCRIPTION, most=MOST_BYTES).decode()
        body: dict[str, Any] = parsed(text)
        schemas.description(body, "")
        intact = text == spelled(body) and any(
            _is_sealed(body, key, with_none=with_none) for with_none in (False, True)
        )
    except (FileNotFoundError, NotADirectoryError) as error:
        raise CorruptResult(f"{key}: {DESCRIPTION} is missing") from error
    except ValueError as error:
        raise CorruptResult(f"{key}: {DESCRIPTION} is damaged: {error}") from error
    if not intact:
        raise CorruptResult(f"{key}: checksum mismatch in {DESCRIPTION}")
    return body


def _is_sealed(body: Mapping[str, Any], key: str, *, with_none: bool) -> bool:
    """Do checksum and key belong to a description? `with_none`: as older releases spelled it."""
    rest = {name: value for name, value in body.items() if name != "checksum"}
    text = canonical(rest, with_none=with_none)
    identity = {name: body[name] for name in _IDENTITY}
    return (
        body["checksum"] == hashlib.sha256(text.encode()).hexdigest()
        and stage_key(identity, with_none=with_none) == key
    )


def _discard(folder: Path) -> None:
    # Moved out of the way first: on NFS a folder in which a file is still open cannot be removed.
    trash = folder.parent.parent.parent / f".trash.{uuid.uuid4().hex[:8]}"
    with contextlib.suppress(FileNotFoundError):
        os.rename(folder, trash)
    remove_tree(trash)


def json_of(content: bytes, key: str, name: str) -> Any:
    """Return the value of the JSON file `name` of a stage; CorruptResult if it cannot be one."""
    try:
        value = parsed(content)
        schemas.schema_of(name)(value, "")
    except ValueError as error:
        raise CorruptResult(f"{key}: {name} is not what such a file holds: {error}") from error
    return value
