"""What is handed to sbatch, by a sbatch that writes it down."""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from sparsekit.sweeps.clusters import Slurm
from sparsekit.sweeps.entries import controller_entry, run_entry
from sparsekit.sweeps.freezing import freeze
from sparsekit.sweeps.records import Sweep
from sparsekit.sweeps.resources import Resources
from sparsekit.sweeps.slurm import BEGIN, submit_controller, submit_members
from sparsekit.system import interruption
from tests.sweeps.asked import asked_for

SBATCH = """#!{python}
import json, os, sys
told = {{"options": sys.argv[1:], "script": sys.stdin.read(), "environment": dict(os.environ)}}
with open({told!r}, "w") as file:
    json.dump(told, file)
print({answer!r}, file={stream})
sys.exit({status})
"""
PLACE = "50%a = it's $HOME"


@pytest.fixture
def told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the sbatch of this test writes what it was told."""
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    answers(tmp_path, "4711;cluster")
    (tmp_path / "squeue").write_text("#!/bin/sh\n")
    (tmp_path / "squeue").chmod(0o755)
    return tmp_path / "told.json"


def answers(folder: Path, answer: str, *, status: int = 0) -> None:
    stream = "sys.stderr" if status else "sys.stdout"
    settings = {"answer": answer, "status": status, "stream": stream}
    text = SBATCH.format(python=sys.executable, told=str(folder / "told.json"), **settings)
    (folder / "sbatch").write_text(text)
    (folder / "sbatch").chmod(0o755)


@pytest.fixture
def sweep(tmp_path: Path) -> Sweep:
    content = asked_for({}, {}, {}, code={"snapshot": "/code of/mine"})
    sweep = freeze(tmp_path / PLACE, "custom", content)
    (sweep.folder / "code" / "mine").mkdir(parents=True)
    return sweep


def read(told: Path) -> Any:
    return json.loads(told.read_text())


def test_an_array_of_runs(told: Path, sweep: Sweep) -> None:
    cluster = Slurm(
        partition="short", parallelism=2, python="singularity exec image python",
        setup=("module load cuda",), srun=("--mpi=none",), options={"no_requeue": True, "nice": 7},
    )  # fmt: skip
    entries, members = [run_entry(n) for n in range(3)], ["0000", "0001", "0002"]
    resources = Resources(memory_gb=2, minutes=30)
    assert submit_members(sweep, members, entries, cluster=cluster, resources=resources) == ["4711"]
    (note,) = sweep.submissions()
    assert (note["job"], note["members"]) == ("4711", members)
    jobs = f"{sweep.folder}/jobs".replace("%", "%%")
    assert read(told)["options"] == [
        "--parsable", "--partition=short", "--time=30", f"--cpus-per-task={resources.cpus}",
        "--mem=2048M", "--nodes=1", "--ntasks-per-node=1", "--signal=USR2@120",
        "--open-mode=append", "--no-requeue", "--nice=7",
        f"--job-name=sparsekit.{sweep.name}.{note['id']}", f"--output={jobs}/%A_%a_0_log.out",
        "--array=0-2%2",
    ]  # fmt: skip
    begin, safe, path, setup, command = read(told)["script"].splitlines()
    assert (begin, setup) == ("#!/bin/bash", "module load cuda")
    assert safe == "export PYTHONSAFEPATH=1"
    place = shlex.quote(str(sweep.folder / "code" / "mine"))
    assert path == f"export PYTHONPATH={place}${{PYTHONPATH:+:$PYTHONPATH}}"
    assert "--mpi=none singularity exec image python -ISc" in command
    assert " -u -m sparsekit.sweeps.job " in command
    assert f"_%t_log.out' --cpus-per-task {resources.cpus}" in command
    assert command.split()[-2] == note["id"]
    assert (sweep.folder / "jobs" / f"{note['id']}.json").exists()


def test_the_controller_asks_for_little(told: Path, sweep: Sweep) -> None:
    cluster = Slurm(constraint="a100", options={"gres": "gpu:1"}, controller={"partition": "io"})
    number = submit_controller(
        sweep, controller_entry(3), cluster=cluster, after=["1", "2"], delay=120
    )
    options = read(told)["options"]
    assert number == "4711"
    assert {"--partition=io", "--dependency=afterany:1:2", "--begin=now+120", "--mem=2048M"} <= set(
        options
    )
    assert not any("a100" in one or "gres" in one or "array" in one for one in options)


def test_jobs_inherit_nothing_of_the_job_that_submits_them(
    told: Path, sweep: Sweep, monkeypatch: pytest.MonkeyPatch
) -> None:
    gone = ("SLURM_JOB_ID", "SBATCH_PARTITION", "RANK", "SPARSEKIT_SESSION")
    for name in (*gone, "SLURM_CONF", "SLURM_JWT", "MINE"):
        monkeypatch.setenv(name, "x")
    submit_controller(sweep, controller_entry(0), cluster=Slurm())
    environment = read(told)["environment"]
    assert not set(gone) & set(environment)
    assert [environment[name] for name in ("SLURM_CONF", "SLURM_JWT", "MINE")] == ["x"] * 3


@pytest.mark.parametrize(
    ("answer", "status", "said"),
    [
        ("sbatch: error: invalid partition", 1, "invalid partition"),
        ("", 1, "sbatch ends with status 1"),
        ("no number", 0, "no number"),
    ],
)
def test_what_slurm_refuses_leaves_no_note(
    answer: str, status: int, said: str, told: Path, sweep: Sweep
) -> None:
    answers(told.parent, answer, status=status)
    with pytest.raises(RuntimeError, match=f"SLURM refuses the jobs: .*{said}"):
        submit_controller(sweep, controller_entry(0), cluster=Slurm())
    assert sweep.submissions() == []
    assert list((sweep.folder / "jobs").iterdir()) == []


def test_signals_are_held_back_before_anything_is_imported() -> None:
    """In a new Python with the options that `cluster.python` gives it."""
    python = f"{sys.executable} -X dev"
    show = "import signal, sys; print(*sorted(signal.pthread_sigmask(0, [])), sys.flags.dev_mode)"
    command = f"{python} -ISc {shlex.quote(BEGIN)} -c {shlex.quote(show)} x"
    printed = subprocess.run(command, shell=True, capture_output=True, text=True, check=True).stdout
    assert printed.split() == [*map(str, sorted(interruption.SIGNALS)), "True"]
