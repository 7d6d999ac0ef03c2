"""Whether what a record names is still there: a record that says done is no result by itself.

Only folders are looked at, because that is done for every run of a sweep whenever it is started.
Checksums are verified where a stage is read; what fails them is put aside, and then is missing.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from sparsekit.store.sealing import DESCRIPTION
from sparsekit.store.store import CorruptResult, Store

Rows = Sequence[Mapping[str, Any]]


def stages_behind(store: Store, rows: Rows) -> list[str]:
    """Return the keys of the results in the rows of a record, and of all they were made from.

    What is not there any more is left out: the results were finished without it.
    """
    found: set[str] = set()
    pending = _named(rows)
    while pending:
        key = pending.pop()
        if key not in found:
            with contextlib.suppress(FileNotFoundError, CorruptResult):
                pending += store.description(key)["inputs"]
                found.add(key)
    return sorted(found)


def missing_results(root: Path, record: Mapping[str, Any]) -> list[str]:
    """Return the stages that a record counts on and that a store does not have.

    Records of earlier releases name results only, not what those were made from.
    """
    store = Store(root)
    keys = dict.fromkeys((*_named(record["rows"]), *record.get("stages", ())))
    return [key for key in keys if not os.path.isfile(store.path(key) / DESCRIPTION)]


def _named(rows: Rows) -> list[str]:
    return [key for row in rows for key in (row["ticket"], *row.get("studies", {}).values())]
