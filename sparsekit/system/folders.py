"""Going through folders that somebody else may have filled, and removing them.

`os.walk` and `shutil.rmtree` call themselves for each level, and fail where there are a thousand.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path


def walked(
    folder: str | Path, *, refused: Callable[[PermissionError], object] = lambda error: None
) -> Iterator[tuple[str, list[str], list[str]]]:
    """Yield each folder from `folder` down with the names of its folders and of all else in it.

    As `os.walk` does, but of folders that are nested as deeply as a file system allows. Links are
    not followed. What a caller takes out of the list of folders is not entered; `refused` is told
    of folders that this user may not list.
    """
    pending = [os.fspath(folder)]
    while pending:
        place = pending.pop()
        folders: list[str] = []
        names: list[str] = []
        try:
            with os.scandir(place) as entries:
                for entry in entries:
                    (folders if entry.is_dir(follow_symlinks=False) else names).append(entry.name)
        except PermissionError as error:
            refused(error)
        except OSError:  # gone, or its path is longer than any that can be opened
            continue
        yield place, folders, names
        pending += [os.path.join(place, name) for name in folders]


def remove_tree(folder: Path) -> None:
    """Remove a folder with all in it, however deeply that is nested; what cannot be, stays."""
    # It calls itself for each level, and has a file open for each.
    with contextlib.suppress(RecursionError):
        shutil.rmtree(folder, ignore_errors=True)
    if folder.is_dir() and not folder.is_symlink():
        with contextlib.suppress(OSError):
            _flatten(folder)
        shutil.rmtree(folder, ignore_errors=True)


def _flatten(folder: Path) -> None:
    """Move all folders below a folder right into it, one by one."""
    pending = [folder]
    while pending:
        place = pending.pop()
        for name in os.listdir(place):
            if os.path.isdir(place / name) and not os.path.islink(place / name):
                pending.append(folder / f".flat.{uuid.uuid4().hex}")
                os.rename(place / name, pending[-1])
