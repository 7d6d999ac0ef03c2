"""Runs in every state; of those that only SLURM knows, tests/slurm has more."""

from __future__ import annotations

import os
import signal
import stat
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from sparsekit.runs.runner import PreparedRun
from sparsekit.status.views import num_cycles, view_sweep
from sparsekit.sweeps.liveness import LIVE, MISSING, STATES
from sparsekit.sweeps.records import Sweep
from tests.conftest import short
from tests.status.sweeps import ROOT, Asked, status
from tests.waiting import wait_until

METHODS = sorted((ROOT / "configs" / "method").glob("*.yaml"), key=lambda file: file.stem)
CONTROLS = ("+control=shuffle_layers", "+control=reinitialise")


def forgotten(sweep: Sweep, *numbers: int) -> None:
    """Let runs look as if they had not written their results."""
    for number in numbers:
        run = sweep.runs[number]
        (sweep.root / "named" / run["experiment"] / f"{run['name']}.json").unlink()


@pytest.fixture
def queue(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Lets `squeue` print lines; there is no `sacct` then."""

    def prints(*lines: str) -> None:
        program = tmp_path / "bin" / "squeue"
        program.parent.mkdir(exist_ok=True)
        # The names of the jobs come last here; their users and folders are told as they are.
        rows = [line.rpartition("|") for line in lines]
        text = "\n".join(f"{a}|{os.geteuid()}|{name}|{os.getcwd()}" for a, _, name in rows)
        program.write_text(f"#!/bin/sh\ncat <<'END'\n{text}\nEND\n")
        program.chmod(program.stat().st_mode | stat.S_IXUSR)
        monkeypatch.setenv("PATH", f"{program.parent}:/bin:/usr/bin")
        sacct = program.with_name("sacct")
        sacct.write_text("#!/bin/sh\nexit 1\n")
        sacct.chmod(0o755)

    return prints


@pytest.mark.parametrize("file", METHODS, ids=lambda file: file.stem)
def test_cycles_are_counted_as_they_are_planned(
    file: Path, tiny: Callable[..., PreparedRun]
) -> None:
    for more in ([], *([control] for control in CONTROLS)):
        if more and file.stem in ("dense", "imp_reprune"):
            continue
        job = tiny(*short(file), *more)
        assert num_cycles(job.run.config["method"]) == len(list(job.method.plan()))


def test_other_methods_have_no_known_number_of_cycles() -> None:
    assert num_cycles({"_target_": "mine.Method", "cycles": 3}) is None


def test_done(finished: Asked, capsys: pytest.CaptureFixture[str]) -> None:
    view = finished.seen()
    assert view["counts"] == {"done": 4}
    for one in view["runs"]:
        assert (
            one["cycles_done"] == one["cycles"] == (1 if one["differs"]["method"] == "dense" else 2)
        )
        assert 0.05 < one["validation"] <= 1
        assert one["seconds"] > 0
        assert one["error"] is one["heartbeat"] is one["fit"] is None
    answer = status(capsys, finished.store)
    assert answer.status == 0
    assert "4 done" in answer.out
    assert "retry" not in answer.out


def test_failed_says_why_and_what_to_type(asked: Asked, capsys: pytest.CaptureFixture[str]) -> None:
    asked.fail(True)
    assert asked.here() == 1
    first, second = asked.seen()["runs"]
    assert first["state"] == second["state"] == "failed"
    assert "1 of 1 fits failed" in first["reason"]
    assert "Traceback" in first["error"]
    answer = status(capsys, asked.store)
    assert "1 of 1 fits failed: ValueError: this run was told to fail" in answer.out
    assert "for a test" not in answer.out, "a row is one line"
    name, store = asked.sweep.name, asked.store
    assert f"python -m sparsekit.status logs {name} 0 --store {store}" in answer.out
    assert f"python -m sparsekit.status retry {name} --store {store}" in answer.out


def test_running_lost_and_open(asked: Asked, capsys: pytest.CaptureFixture[str]) -> None:
    begun = time.time()
    asked.hold()
    with asked.elsewhere("cluster=local", "cluster.processes=1") as pool:
        wait_until(lambda: asked.has_begun("0000"), "no run begins")
        first, second = asked.seen()["runs"]
        assert (first["state"], second["state"]) == ("running", "open")
        assert 0 <= first["heartbeat"] <= time.time() - begun
        assert 0 < first["fit"]["last_step"] >= first["fit"]["step"]
        assert (first["cycles_done"], first["cycles"], first["attempts"]) == (0, 1, 1)
        assert first["seconds"] > 0
        answer = status(capsys, asked.store)
        assert "1 running, 1 open" in answer.out
        assert " ago" in answer.out
        assert f"/{first['fit']['last_step']}" in answer.out
        pool.send_signal(signal.SIGSTOP)  # or it would begin the next run
        os.kill(first["pid"], signal.SIGKILL)
        wait_until(lambda: asked.states()[0] == "lost", "the loss of a run is not seen")
        assert "was last running" in asked.seen()["runs"][0]["reason"]
        pool.send_signal(signal.SIGCONT)


def test_what_the_queue_says(
    finished: Asked, queue: Callable[..., None], capsys: pytest.CaptureFixture[str]
) -> None:
    sweep = finished.sweep
    forgotten(sweep, 0, 1, 2, 3)
    note = sweep.submitted(sweep.submit("runs", ["0000", "0001", "0002", "0003"]), "77")
    sweep.write_status("0001", {"state": "waiting", "reason": "another run computes fit-1"})
    sweep.write_status("0002", {"state": "parked", "reason": "5 fits are jobs 78"})
    sweep.write_status("0003", {"state": "stopped", "reason": "stopped by SIGUSR2", "attempts": 2})
    job = f"sparsekit.{sweep.name}.{note['id']}"
    rows = [f"77_{n}|{'RUNNING' if n == 0 else 'PENDING'}|None||{job}" for n in range(4)]
    queue(*rows, "99|RUNNING|None||of somebody else")
    one, two, three, four = view_sweep(sweep).runs
    assert [one.state, two.state, three.state, four.state] == [
        "starting", "waiting", "parked", "queued",
    ]  # fmt: skip
    assert four.reason == "stopped by SIGUSR2"
    assert (four.job, four.attempts) == ("77_3", 2)
    answer = status(capsys, finished.store)
    assert "another run computes fit-1" in answer.out
    assert "retry" not in answer.out
    assert set(STATES) == {*LIVE, *MISSING, "done"}


def test_lost_runs_are_waited_for_while_the_controller_is_there(
    finished: Asked, queue: Callable[..., None], capsys: pytest.CaptureFixture[str]
) -> None:
    sweep = finished.sweep
    forgotten(sweep, 2)
    note = sweep.submitted(sweep.submit("controller", ["controller"]), "78")
    queue(f"78|PENDING|Dependency||sparsekit.{sweep.name}.{note['id']}")
    view = view_sweep(sweep)
    assert view.counts == {"done": 3, "lost": 1}
    assert view.controller == "78"
    assert view.is_live
    assert "submitted again by the controller, job 78" in status(capsys, finished.store).out
    queue()
    view = view_sweep(sweep)
    assert view.controller is None
    assert not view.is_live
    assert view.is_missing


def test_without_a_scheduler_nothing_is_taken_for_lost(
    finished: Asked, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    sweep = finished.sweep
    forgotten(sweep, 1)
    note = sweep.submitted(sweep.submit("runs", ["0001"]), "77")
    sweep._note({**note, "time": time.time() - 1000})
    monkeypatch.setenv("PATH", str(tmp_path))
    assert view_sweep(sweep).runs[1].reason == "the scheduler does not answer"
    assert view_sweep(sweep).counts == {"done": 3, "queued": 1}


def test_cancelled_runs_are_cancelled_however_their_jobs_ended(finished: Asked) -> None:
    sweep = finished.sweep
    forgotten(sweep, 0, 1)
    sweep.write_status("0000", {"state": "stopped", "reason": "stopped by SIGTERM"})
    assert view_sweep(sweep).counts == {"done": 2, "lost": 2}
    sweep.cancel(["0000", "0001", "0002"])
    assert view_sweep(sweep).counts == {"done": 2, "cancelled": 2}
