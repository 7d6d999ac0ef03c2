"""Runs that nothing disturbs, and runs that died everywhere; several tests look at both."""

from __future__ import annotations

import os
import shutil
from collections import defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from sparsekit.runs.planning import plan_run
from sparsekit.runs.runner import PreparedRun
from sparsekit.store.store import Store
from tests.conftest import run_to_its_end, short, tiny_run

Undisturbed = Callable[[Sequence[str]], tuple[Store, list[str]]]


class Computed:
    """Stages that earlier runs of this process have computed; methods have many in common."""

    def __init__(self) -> None:
        self.folders: dict[str, Path] = {}

    def hand_to(self, job: PreparedRun) -> set[str]:
        """Put those of a run's stages into its store; return their keys."""
        known = {stage.key for stage in plan_run(job)} & self.folders.keys()
        for key in known:
            shutil.copytree(self.folders[key], job.store.path(key), copy_function=os.link)
        return known

    def keep(self, store: Store, tickets: Sequence[str]) -> set[str]:
        """Keep what these tickets were made from for later runs; return all of their keys."""
        keys = set(store.ancestors(*tickets))
        for key in keys:
            self.folders.setdefault(key, store.path(key))
        return keys


@pytest.fixture
def overrides(request: pytest.FixtureRequest) -> Sequence[str]:
    """Those given, or those that make a method short, which Hydra composes for a tenth of a second:
    only where a test needs it."""
    return short(request.param) if isinstance(request.param, Path) else request.param


@pytest.fixture(scope="session")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Undisturbed:
    """Gives store and tickets of a tiny run, alone in its store and trained once per process.

    Tests look at it and leave it as it is.
    """
    known: dict[tuple[str, ...], tuple[Store, list[str]]] = {}
    computed = Computed()

    def run(overrides: Sequence[str]) -> tuple[Store, list[str]]:
        asked = tuple(overrides)
        if asked not in known:
            job = tiny_run(tmp_path_factory.mktemp("undisturbed") / "runs", asked)
            handed = computed.hand_to(job)
            store, tickets = known[asked] = run_to_its_end(job)
            for planned_in_vain in handed - computed.keep(store, tickets):
                shutil.rmtree(store.path(planned_in_vain))
        return known[asked]

    return run


@pytest.fixture(scope="session")
def diary(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Places at which runs of this process died."""
    diary = tmp_path_factory.mktemp("deaths") / "diary"
    diary.touch()
    return diary


@pytest.fixture(scope="session")
def died_everywhere() -> defaultdict[tuple[str, ...], Computed]:
    """Stages in whose computation runs were killed at every place, by the kinds of places."""
    return defaultdict(Computed)
