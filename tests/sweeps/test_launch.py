"""What starting a sweep refuses, and what cluster=inline and cluster=local make of one."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest
from lightning.pytorch import Callback

from sparsekit.report.compare import differences
from sparsekit.run import main
from sparsekit.store.store import Store
from sparsekit.sweeps import pool
from sparsekit.sweeps.records import list_sweeps
from sparsekit.system.warm import Process, Warm
from tests.conftest import TINY
from tests.status.sweeps import started
from tests.waiting import PATIENCE
from tests.warm import Forked

RUNS = ("-m", *TINY, "method=one_shot,random", "seed=0,1", "runtime.threads=1")


def asked(store: Path, *more: str) -> list[str]:
    return [*RUNS, f"runtime.store={store}", *more]


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["executor=jobs"], "executor=jobs needs cluster=slurm"),
        (["cluster=inline,local"], "different values of cluster"),
        (["cluster=slurm", "resources.minutes=3"], "resources.minutes=3 is too short"),
        (["cluster=slurm", "cluster.rounds=-1"], "cluster.rounds=-1 is below 0"),
        (["cluster=slurm", "cluster.partion=gpu"], "nearest: partition"),
        (["cluster=local", "cluster.processes=0"], "cluster.processes=0 is not positive"),
        (["resources.gpus=-1"], "resources.gpus=-1 is below 0"),
        (["resources.memory_gb=0"], "resources.memory_gb=0 is not positive"),
        (["resources=gpuu"], "nearest: gpu"),
        (["cluster=slum"], "nearest: slurm"),
        (["hydra/launcher=submitit_slurm"], "cluster="),
        (["resources.nodes=0"], "resources.nodes=0 is below 1"),
        (["resources.nodes=2"], "resources.nodes=2 would be ignored"),
        (["cluster=slurm", "resources.nodes=2", "executor=workers"], "each on one device"),
        (["executor=workers", "runtime.devices=2"], "each on one device"),
        (["runtime.devices=3", "train.batch_size=64"], "batch_size=64 cannot be shared out evenly"),
        (
            ["cluster=slurm", "resources.nodes=4", "runtime.devices=2", "train.batch_size=60"],
            "resources.nodes=4 x runtime.devices=2 x train.accumulate=1",
        ),
    ],
)
def test_what_cannot_be_done_is_refused_before_anything_is_written(
    overrides: list[str],
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    # An sbatch that would tell: nothing may reach it.
    sbatch = tmp_path / "bin" / "sbatch"
    sbatch.parent.mkdir()
    sbatch.write_text(f"#!/bin/sh\ntouch {tmp_path}/submitted\n")
    sbatch.chmod(0o755)
    monkeypatch.setenv("PATH", f"{sbatch.parent}:{os.environ['PATH']}")
    assert main(asked(tmp_path / "runs", *overrides)) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "runs").exists()
    assert not (tmp_path / "submitted").exists()


def test_more_processes_than_gpus_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1")
    assert main(asked(tmp_path / "runs", "cluster=local", "cluster.processes=3")) == 2
    assert "cluster.processes=3 is more than the 2 GPUs take" in capsys.readouterr().err
    assert not (tmp_path / "runs").exists()


def test_without_slurm_it_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert main(asked(tmp_path / "runs", "cluster=slurm")) == 2
    assert "there is no sbatch here" in capsys.readouterr().err


def test_processes_leave_the_same_bits_as_this_one(tmp_path: Path) -> None:
    assert main(asked(tmp_path / "here")) == 0
    more = ["cluster=local", "cluster.processes=2"]
    command = started(["sparsekit.run", *asked(tmp_path / "apart", *more)])
    _, told = command.communicate(timeout=PATIENCE)
    assert command.returncode == 0, told
    assert "[4/4]" in told
    assert differences(Store(tmp_path / "here"), Store(tmp_path / "apart")) == []
    (here,), (apart,) = list_sweeps(tmp_path / "here"), list_sweeps(tmp_path / "apart")
    assert here.name == apart.name
    assert len({apart.last_status(f"{number:04d}")["pid"] for number in range(4)}) == 4
    assert all((apart.folder / "jobs" / f"{number:04d}.log").exists() for number in range(4))


def test_what_is_frozen_is_all_there_is_to_know(tmp_path: Path) -> None:
    assert main(asked(tmp_path / "runs")) == 0
    (sweep,) = list_sweeps(tmp_path / "runs")
    assert [run["differs"] for run in sweep.runs] == [
        {"method": method, "seed": seed} for method in ("one_shot", "random") for seed in "01"
    ]
    assert sweep.frozen["command"].startswith("python -m sparsekit.run -m model=mlp")
    assert os.path.isabs(sweep.runs[0]["config"]["runtime"]["data"])
    assert json.loads((sweep.folder / "sweep.json").read_text()) == sweep.frozen
    assert all(sweep.is_done(number) for number in range(4))


def test_a_device_that_is_not_there_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [text for text in asked(tmp_path / "runs") if "accelerator" not in text]
    assert main([*words, "runtime.accelerator=mps"]) == 2
    assert "there is no such device here" in capsys.readouterr().err


class Leaving(Callback):
    """Changes the working directory, as some libraries do."""

    def __init__(self, folder: str) -> None:
        os.chdir(folder)


def test_results_are_where_they_were_asked_for_whoever_changes_the_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "other").mkdir()
    monkeypatch.chdir(tmp_path)
    leaving = f"{{_target_:{__name__}.Leaving,folder:{tmp_path / 'other'}}}"
    asked = [*TINY, "method=dense", f"callbacks.leaving={leaving}"]
    assert main([*asked, "runtime.store=runs"]) == 0
    assert Path.cwd() == tmp_path / "other"
    assert len(list_sweeps(tmp_path / "runs")) == 1
    assert list(Path.cwd().iterdir()) == []


def test_a_warm_interpreter_that_dies_is_done_without(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Dying(Warm):
        def begin(self, *given: Any) -> Process:
            begun.append(given[0])
            if len(begun) == 2:
                self.process.kill()
                self.process.wait()
            return super().begin(*given)

    begun: list[str] = []
    monkeypatch.setattr(pool, "Warm", Dying)
    monkeypatch.setattr(subprocess, "Popen", Forked)
    assert main(asked(tmp_path, "cluster=local", "cluster.processes=1")) == 0
    assert len(begun) == 2
    (sweep,) = list_sweeps(tmp_path)
    assert all(sweep.is_done(number) for number in range(4))
