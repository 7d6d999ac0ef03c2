"""Folders of exports: written beside their place, and renamed into it when they are whole."""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sparsekit.inference.manifest import (
    FILES,
    MANIFEST,
    VERSION,
    WHAT,
    Export,
    open_export,
    sealed,
)
from sparsekit.system.files import checksum, spelled, sync
from sparsekit.system.folders import remove_tree

ASKED = ("format", "source", "settings")
"""What makes two exports the same."""


@contextmanager
def placed(out: Path) -> Iterator[Path]:
    """Yield a new folder that is renamed to `out` when the block is done, and is removed otherwise.

    FileExistsError where somebody else was faster.
    """
    folder = out.with_name(f".{out.name}.{uuid.uuid4().hex}.partial")
    try:
        folder.mkdir(parents=True)
    except OSError as error:
        error.filename = str(out)  # which is what was asked for
        raise
    try:
        yield folder
        for path in folder.iterdir():
            sync(path)
        sync(folder)
        os.rename(folder, out)
        sync(out.parent)
    finally:
        remove_tree(folder)


def write_manifest(folder: Path, content: Mapping[str, Any]) -> Export:
    """Write the manifest of the files in a folder and return the export that they are now.

    `content`: format, sparsekit, source, settings, inputs, outputs and measured.
    """
    files = {
        name: {"bytes": (folder / name).stat().st_size, "sha256": checksum(folder / name)}
        for name in FILES[content["format"]]
    }
    manifest = sealed({"what": WHAT, "version": VERSION, **content, "files": files})
    (folder / MANIFEST).write_text(spelled(manifest), encoding="utf-8")
    return open_export(folder)


def same_export(out: Path, asked: Mapping[str, Any]) -> Export | None:
    """Return the whole export that is at `out` if it is the one asked for; None if nothing is.

    ValueError for anything else that is there: it is never overwritten.
    """
    if not out.exists() or (out.is_dir() and not any(out.iterdir())):
        return None
    try:
        export = open_export(out)
        export.verify()
    except ValueError as error:
        raise ValueError(f"{out} exists and is not a whole export: {error}; use out=") from error
    other = [name for name in ASKED if export.manifest[name] != asked[name]]
    if other:
        what = f"{other[0]} {export.manifest[other[0]]}, not {asked[other[0]]}"
        raise ValueError(f"{out} is another export, with {what}; use out=")
    return export
