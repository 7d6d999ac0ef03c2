"""What the owner of a claim says of itself in it: its store, its command, its user.

A number and a start time say which process of a machine made a claim. That the claim is about this
very folder, and that the process is still the command that made it, the heartbeat file says. A copy
of a claim names the process that is at work in the original.
"""

from __future__ import annotations

import hashlib
import os
import platform
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sparsekit.store.place import id_around
from sparsekit.system.files import read_json, spelled
from sparsekit.system.schema import mapping, optional, text
from sparsekit.system.users import user_name

HEARTBEAT = "heartbeat"
PROGRAM = b"sparsekit"
MOST_BYTES = 2**16
_schema = mapping({"owner": text()}, dict.fromkeys(("store", "command", "user"), optional(text())))


def sign(folder: Path, *, around: Path | None = None) -> None:
    """Write into a claim who its owner is; `around`: where it will lie, if not there yet."""
    told = {
        "owner": folder.name,
        "store": id_around(around or folder),
        "command": _digest(os.getpid()),
        "user": user_name(),
        "node": platform.node(),
        "job": os.environ.get("SLURM_JOB_ID"),
    }
    # Replaced by a file of our own: who may only write into another's cannot always touch it.
    fresh = folder / f".{HEARTBEAT}.{uuid.uuid4().hex[:8]}"
    fresh.write_text(spelled(told))
    os.replace(fresh, folder / HEARTBEAT)


def signature(folder: Path) -> Mapping[str, Any]:
    """Return what the owner of a claim wrote into it; empty for one that has not signed it."""
    try:
        told: dict[str, Any] = read_json(folder / HEARTBEAT, most=MOST_BYTES)
        _schema(told, "")
    except (OSError, ValueError):
        return {}
    return told if told["owner"] == folder.name else {}


def told_owner(folder: Path) -> str:
    """Say who the owner of a claim is: its process, and what it wrote of itself."""
    told = signature(folder)
    parts = [f"process {folder.name.split('.')[1]}"]
    parts += [
        f"{before} {told[name]}"
        for before, name in (("on", "node"), ("in job", "job"), ("of", "user"))
        if isinstance(told.get(name), str)
    ]
    return " ".join(parts)


def is_of_another_store(folder: Path) -> bool:
    """Say whether a claim was made in another store, of which this one is a copy."""
    told, here = signature(folder).get("store"), id_around(folder)
    return None not in (told, here) and told != here


def is_command_of(folder: Path, pid: int) -> bool:
    """Say whether the process of a number is still the command that made a claim.

    Claims of earlier releases do not say which command that was; it must be one of ours.
    """
    told = signature(folder).get("command")
    return _digest(pid) == told if told is not None else PROGRAM in (_command(pid) or b"")


def _digest(pid: int) -> str | None:
    command = _command(pid)
    return None if command is None else hashlib.sha256(command).hexdigest()


def _command(pid: int) -> bytes | None:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return None
