"""Putting aside what is damaged before it is written anew, so that it can still be looked at."""

from __future__ import annotations

import contextlib
import logging
import os
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

from sparsekit.system.files import Damaged, Hidden, refuse_links, write_json
from sparsekit.system.printing import printable

CORRUPT = "corrupt"
log = logging.getLogger(__name__)


def put_aside(root: Path, path: Path, *, name: str | None = None) -> Path:
    """Move a file or folder of a store to its corrupt/; return where it is then.

    `name`: what it is called there, followed by some digits; else it keeps its own.
    """
    folder = root / CORRUPT
    refuse_links(root, folder)
    folder.mkdir(parents=True, exist_ok=True)
    aside = folder / f"{name or path.name}.{uuid.uuid4().hex[:8]}"
    os.rename(path, aside)
    return aside


def put_aside_damaged(root: Path, path: Path, read: Callable[[Path], Any]) -> None:
    """Move a file to corrupt/ if `read` finds that it is Damaged, and say so."""
    try:
        read(path)
    except Hidden:
        return
    except Damaged as damage:
        with contextlib.suppress(FileNotFoundError):
            put_aside(root, path)
            log.warning("%s", printable(f"{damage}; it is put aside and written anew"))
    except OSError:
        return


def write_over(root: Path, path: Path, value: object, read: Callable[[Path], Any]) -> None:
    """Replace a file of a store in one step, after a damaged one was put aside."""
    refuse_links(root, path.parent)
    path.parent.mkdir(parents=True, exist_ok=True)
    put_aside_damaged(root, path, read)
    write_json(path, value)
