"""Files that are read as if somebody hostile had written them, of the standard library alone.

Only regular files are opened, never through a link, and none that is larger than it may be. JSON
has no name twice and no number that is not finite.
"""

from __future__ import annotations

import json
import math
import os
import stat
from pathlib import Path
from typing import Any, NoReturn

MOST_JSON = 1 << 26
MOST_TENSORS = 1 << 36
FLAGS = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


class DamagedExport(ValueError):
    """Something that is no whole export of a network; the message, one line, says where and why."""


def read_regular(path: Path, most: int) -> bytes:
    """Read a regular file of at most `most` bytes; DamagedExport for anything else."""
    try:
        descriptor = os.open(path, FLAGS)
    except OSError as error:
        raise DamagedExport(f"{path} cannot be read: {error.strerror}") from error
    status = os.fstat(descriptor)
    if not stat.S_ISREG(status.st_mode):
        os.close(descriptor)
        raise DamagedExport(f"{path} is not a regular file")
    with open(descriptor, "rb") as file:
        if status.st_size > most:
            raise DamagedExport(f"{path} has {status.st_size:,} bytes, more than {most:,}")
        return file.read(status.st_size)


def parsed(content: bytes, path: Path) -> Any:
    """Return the value of a JSON file; DamagedExport for what is none."""
    try:
        return json.loads(
            content.decode(),
            object_pairs_hook=_mapping,
            parse_float=_finite,
            parse_constant=_refuse_constant,
        )
    except (ValueError, RecursionError) as error:
        reason = "it is nested too deeply" if isinstance(error, RecursionError) else error
        raise DamagedExport(f"{path} is damaged: {reason}") from error


def _mapping(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) < len(pairs):
        raise ValueError("a name stands in it twice")
    return value


def _finite(text: str) -> float:
    if not math.isfinite(value := float(text)):
        _refuse_constant(text)
    return value


def _refuse_constant(text: str) -> NoReturn:
    raise ValueError(f"{text} is not a finite number")
