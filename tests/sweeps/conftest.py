"""Sweeps that are submitted to a SLURM of files."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from sparsekit.run import main
from sparsekit.sweeps.freezing import settle
from sparsekit.sweeps.records import Sweep, list_sweeps
from tests.conftest import TINY
from tests.sweeps.fake_slurm import FakeSlurm

ZIPPED = ("--zip", "seed,resources.memory_gb", "seed=0,1,2", "resources.memory_gb=1,1,2")


@pytest.fixture(scope="session")
def frozen_once(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Store of a sweep of three runs that ask for two kinds of resources; to be copied."""
    folder = tmp_path_factory.mktemp("frozen")
    slurm = FakeSlurm(folder / "slurm")
    slurm.install()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PATH", str(slurm.folder), prepend=":")
        store = [f"runtime.store={folder / 'runs'}", "cluster=slurm", "cluster.rounds=1"]
        assert main(["-m", *TINY, "method=dense", *ZIPPED, *store]) == 0
    (sweep,) = list_sweeps(folder / "runs")
    for name in ("submissions", "members", "jobs", "claims"):
        shutil.rmtree(sweep.folder / name, ignore_errors=True)
    return folder / "runs"


@pytest.fixture
def slurm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeSlurm:
    """The commands of SLURM that this test's processes find."""
    slurm = FakeSlurm(tmp_path / "slurm")
    slurm.install()
    monkeypatch.setenv("PATH", str(slurm.folder), prepend=":")
    return slurm


@pytest.fixture
def frozen(frozen_once: Path, tmp_path: Path, slurm: FakeSlurm) -> Sweep:
    """A sweep that nobody has submitted: runs 0 and 1 ask for 1 GB, run 2 for 2."""
    settle(shutil.copytree(frozen_once, tmp_path / "runs"))
    (sweep,) = list_sweeps(tmp_path / "runs")
    return sweep
