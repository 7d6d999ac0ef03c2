"""The files in which fits under way write their epochs, as their run reads them."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from sparsekit.mirror.names import live_folder
from sparsekit.mirror.rows import Row, fit_row
from sparsekit.system.files import Damaged, open_regular, refuse_links
from sparsekit.system.folders import remove_tree


class LiveFiles:
    """The rows of the fits that are expected: of those that the run has asked for."""

    def __init__(self, root: Path, identity: str) -> None:
        self.root = root
        self.folder = live_folder(root, identity)
        self.expected: dict[str, list[tuple[int, int]]] = {}
        self.read_to: dict[str, int] = {}

    def expect(self, cycle: int, keys: Sequence[str]) -> None:
        """Look for these fits, the particles of a cycle, from now on."""
        for particle, key in enumerate(keys):
            self.expected.setdefault(key, []).append((cycle, particle))

    def new_rows(self) -> Iterator[Row]:
        """Yield the rows that were written since the last time."""
        for key, places in self.expected.items():
            for measured in self._new_lines(key):
                for cycle, particle in places:
                    yield fit_row(key, cycle, particle, measured)

    def remove(self) -> None:
        """Remove the files of a run that is done: the store has it all."""
        with contextlib.suppress(OSError, Damaged):
            refuse_links(self.root, self.folder)
            remove_tree(self.folder)

    def _new_lines(self, key: str) -> list[dict[str, Any]]:
        begin, new = self.read_to.get(key, 0), b""
        with contextlib.suppress(OSError, Damaged):
            refuse_links(self.root, self.folder)
            with open_regular(self.folder / f"{key}.jsonl") as file:
                file.seek(begin)
                new = file.read()
        end = new.rfind(b"\n") + 1  # the last line may not be whole yet
        self.read_to[key] = begin + end
        return [json.loads(line) for line in new[:end].splitlines()]
