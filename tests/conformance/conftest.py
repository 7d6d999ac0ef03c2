"""Runs that nothing disturbs, which several tests compare with."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest

from sparsekit.store.store import Store
from tests.conftest import run_to_its_end, tiny_run

Undisturbed = Callable[[Sequence[str]], tuple[Store, list[str]]]


@pytest.fixture(scope="session")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Undisturbed:
    """Gives store and tickets of a tiny run, alone in its store and trained once per process.

    Tests look at it and leave it as it is.
    """
    known: dict[tuple[str, ...], tuple[Store, list[str]]] = {}

    def run(overrides: Sequence[str]) -> tuple[Store, list[str]]:
        asked = tuple(overrides)
        if asked not in known:
            root = tmp_path_factory.mktemp("undisturbed") / "runs"
            known[asked] = run_to_its_end(tiny_run(root, asked))
        return known[asked]

    return run
