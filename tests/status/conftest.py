"""Sweeps that several tests look at."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from sparsekit.sweeps.freezing import settle
from tests.status.sweeps import Asked


@pytest.fixture(autouse=True)
def any_width(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pages are whole: whoever runs the tests may have set a width."""
    monkeypatch.delenv("COLUMNS", raising=False)


@pytest.fixture(scope="session")
def finished_once(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a finished sweep; to be copied, not to be changed."""
    asked = Asked(tmp_path_factory.mktemp("finished"), ("method=dense,one_shot", "seed=0,1"))
    assert asked.here() == 0
    return asked.folder


@pytest.fixture
def finished(finished_once: Path, tmp_path: Path) -> Asked:
    """A finished sweep of four runs: dense and one-shot, with two seeds each."""
    settle(shutil.copytree(finished_once / "runs", tmp_path / "runs"))
    return Asked(tmp_path, ("method=dense,one_shot", "seed=0,1"))


@pytest.fixture
def asked(tmp_path: Path) -> Asked:
    """A sweep of two runs that is not started yet."""
    return Asked(tmp_path)
