"""How workers are begun here: forked, where that is safe, from a process that imports little."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from sparsekit.system import forking
from tests.forking import forget_interpreter


@pytest.fixture(autouse=True)
def _light(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Executors do the same, whatever is imported before they fork."""
    forget_interpreter()
    monkeypatch.setattr(forking, "PRELOADED", "json")
    yield
    forget_interpreter()


@pytest.fixture
def begun_as(way: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let workers be forked or spawned, as `way` says."""
    if way == "spawned":
        monkeypatch.setattr(forking, "_may_fork", lambda start: False)
