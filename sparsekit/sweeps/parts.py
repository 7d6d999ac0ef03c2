"""The folder of a sweep and its parts: folders of small files, each with a schema of its own."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import re
from pathlib import Path
from typing import Any

from sparsekit.sweeps import schemas
from sparsekit.system.files import Damaged, read_json, refuse_links

MOST_BYTES = 2**24


@dataclasses.dataclass(frozen=True)
class SweepFolder:
    """A folder STORE/sweeps/NAME, read as if somebody else had written what is in it."""

    folder: Path

    @property
    def name(self) -> str:
        return self.folder.name

    @property
    def root(self) -> Path:
        """Of the store that the sweep belongs to."""
        return self.folder.parent.parent

    def made(self, part: str) -> Path:
        """Return a folder of the sweep, made if need be; Damaged where that leads elsewhere."""
        folder = self.folder / part
        refuse_links(self.root, folder)
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    def names(self, part: str) -> list[str]:
        """Return the names of what is meant to be a file of the sweep, whatever it is."""
        pattern, _ = schemas.PARTS[part]
        with contextlib.suppress(OSError):
            return [name for name in os.listdir(self.folder / part) if re.fullmatch(pattern, name)]
        return []

    def read_part(self, part: str, file: Path) -> Any:
        """Read a file of the sweep; Damaged for what cannot have been written there."""
        refuse_links(self.root, file.parent)
        content = read_json(file, most=MOST_BYTES)
        try:
            schemas.PARTS[part][1](content, "")
        except ValueError as error:
            raise Damaged(f"{file} is damaged: {error}") from error
        return content

    def read(self, part: str, name: str) -> Any:
        """Return what a file of the sweep says; None where it is missing or damaged."""
        try:
            return self.read_part(part, self.folder / part / name)
        except (Damaged, OSError):
            return None


def member_of(number: int) -> str:
    """Return the name of the member of a run.

    >>> member_of(7)
    '0007'
    """
    return f"{number:04d}"


def number_of(member: str) -> int:
    """Return the number of the run that a member belongs to.

    >>> number_of("0007"), number_of("0007.fit-3f69")
    (7, 7)
    """
    return int(member.partition(".")[0])
