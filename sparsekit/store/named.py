"""Records of runs: the files below named/, of which some may be damaged, and others no records."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from sparsekit.store import schemas
from sparsekit.system.files import Damaged, read_json, refuse_links
from sparsekit.system.folders import walked
from sparsekit.system.users import denied

NAMED = "named"
NAME_OF_A_RUN = re.compile(r".+-seed\d+-.+\.json")
MOST_BYTES = 2**24


class Foreign(Damaged):
    """A file among the records that nobody who writes records has written."""


def record_files(folder: Path) -> list[Path]:
    """Return what below a folder may be records, sorted; hidden files are none.

    Also folders that this user may not list: records may lie in them.
    """
    return sorted(_below(folder))


def _below(folder: Path) -> Iterator[Path]:
    hidden: list[PermissionError] = []
    for place, folders, names in walked(folder, refused=hidden.append):
        # A folder may have been put in the place of a record.
        meant = [name for name in folders if NAME_OF_A_RUN.fullmatch(name)]
        folders[:] = [name for name in folders if not name.startswith(".")]
        files = [name for name in (*meant, *names) if name.endswith(".json")]
        yield from (Path(place, name) for name in files if not name.startswith("."))
    yield from (Path(error.filename) for error in hidden)


def read_record(file: Path) -> Mapping[str, Any]:
    """Read what a run wrote about itself.

    Damaged for a file that cannot be a record of a run, Foreign where it was not meant to be one
    either; FileNotFoundError where there is none.
    """
    if file.is_dir() and not os.access(file, os.R_OK | os.X_OK):
        raise Damaged(f"{denied(file)}: records may lie in it")
    try:
        content: Mapping[str, Any] = read_json(file, most=MOST_BYTES)
    except Damaged as error:
        raise _refusal(file, None)(f"{error}; it is not a record of a run") from error
    try:
        schemas.record(content, "")
    except ValueError as error:
        raise _refusal(file, content)(f"{file} is not a record of a run: {error}") from error
    return content


def read_records(files: Iterable[Path]) -> tuple[dict[Path, Mapping[str, Any]], list[Damaged]]:
    """Return the records in these files, by file, and what is wrong with the others.

    Foreign files, and those that are gone meanwhile, are left out without a word.
    """
    found: dict[Path, Mapping[str, Any]] = {}
    damaged: list[Damaged] = []
    for file in files:
        try:
            found[file] = read_record(file)
        except (Foreign, FileNotFoundError):
            continue
        except Damaged as error:
            damaged.append(error)
    return found, damaged


def records_of(root: Path) -> tuple[dict[Path, Mapping[str, Any]], list[Damaged]]:
    """Return `read_records` of all records of a store."""
    try:
        refuse_links(root, root / NAMED)
    except Damaged as error:
        return {}, [error]
    return read_records(record_files(root / NAMED))


def _refusal(file: Path, content: Any) -> type[Damaged]:
    is_meant = NAME_OF_A_RUN.fullmatch(file.name) or (
        isinstance(content, Mapping) and "rows" in content
    )
    return Damaged if is_meant else Foreign
