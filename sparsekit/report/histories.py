"""What fits wrote down on the way."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from sparsekit.report.collect import Result
from sparsekit.store.store import Store

HISTORY = "history.json"
History = Sequence[Mapping[str, Any]]


def histories(result: Result) -> list[History]:
    """Read what the fits of a ticket wrote down; fits without a history are left out."""
    store = Store(Path(result.store))
    fits = [key for key in store.description(result.ticket)["inputs"] if key.startswith("fit-")]
    return [store.read(key, HISTORY) for key in fits if HISTORY in store.description(key)["files"]]
