"""Files that are written whole or not at all, and can be told apart by their checksums."""

from __future__ import annotations

import contextlib
import hashlib
import json
import math
import os
import uuid
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any


def checksum(path: Path) -> str:
    """Return the SHA-256 of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def read_bytes(path: Path) -> bytes:
    """Read a regular file. Others raise ValueError: a pipe would keep its reader waiting."""
    if path.exists() and not path.is_file() and not path.is_dir():
        raise ValueError(f"{path} is not a regular file")
    return path.read_bytes()


def read_json(path: Path) -> Any:
    """Read the value of a JSON file; ValueError for what is none, or is not a regular file."""
    return parsed(read_bytes(path))


def parsed(text: str | bytes) -> Any:
    """Return the value of a JSON text; ValueError for what is none, however deeply nested."""
    try:
        return json.loads(text)
    except RecursionError as error:
        raise ValueError("nested too deeply for a file of ours") from error


def write_json(path: Path, value: object, *, private: bool = False) -> None:
    """Replace `path` by `value` in one step: readers see the old file or the new one.

    A `private` file is its owner's to read, and nobody else's at any moment.
    """
    with replacing(path, path.with_name(f".{uuid.uuid4().hex}.partial")) as temporary:
        temporary.touch(0o600 if private else 0o666, exist_ok=False)
        temporary.write_text(spelled(value), encoding="utf-8")


@contextlib.contextmanager
def replacing(path: Path, temporary: Path) -> Iterator[Path]:
    """Put what the block writes to `temporary` in the place of `path`, whole and on the disk.

    Where that fails, such as on a full disk, nothing is left behind, and OSError names `path`.
    """
    try:
        yield temporary
        sync(temporary)
        os.replace(temporary, path)
    except BaseException as error:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
        if isinstance(error, OSError) and error.filename in (None, str(temporary)):
            error.filename = str(path)
        raise


def write_measured(path: Path, value: object) -> None:
    """Replace `path` like `write_json` by what was measured: a number that is not finite is null.

    A recall of a class that no example has, or the loss of a network that diverged, is a result.
    """
    write_json(path, finite(value))


def finite(value: object) -> object:
    """Return plain data with None for every number that is not finite.

    >>> finite({"a": [1.0, float("inf")], "b": float("nan")})
    {'a': [1.0, None], 'b': None}
    """
    if isinstance(value, Mapping):
        return {name: finite(one) for name, one in value.items()}
    if isinstance(value, list | tuple):
        return [finite(one) for one in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def spelled(value: object) -> str:
    """Write a value in the one spelling of the store's JSON files; ValueError for nan and inf."""
    return json.dumps(value, indent=1, sort_keys=True, allow_nan=False) + "\n"


def sync(path: Path) -> None:
    """Wait until a file or folder is on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
