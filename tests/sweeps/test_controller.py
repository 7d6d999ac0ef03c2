"""Whoever looks after a sweep does not decide while SLURM is silent."""

from __future__ import annotations

import dataclasses
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from sparsekit.run import main
from sparsekit.sweeps import controller as control
from sparsekit.sweeps import jobs, scheduler
from sparsekit.sweeps.clusters import Slurm
from sparsekit.sweeps.jobs import SLURM, jobs_of
from sparsekit.sweeps.liveness import observe
from sparsekit.sweeps.records import Sweep, list_sweeps
from sparsekit.sweeps.scheduler import Ended, Queued
from tests.conftest import TINY
from tests.sweeps.asked import note_of_long_ago

ONE = Queued("7", "PENDING", "Priority", "", "sparsekit.other.0")


@pytest.fixture
def sweep(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Sweep:
    monkeypatch.setattr(jobs, "SECONDS_BETWEEN_QUESTIONS", 0.01)
    assert main([*TINY, "method=dense", "seed=0", f"runtime.store={tmp_path}"]) == 0
    file = list_sweeps(tmp_path)[0].folder / "sweep.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "cluster": {"_target_": SLURM}}))
    return list_sweeps(tmp_path)[0]


def test_the_same_runs_in_another_store_are_not_its_jobs(
    sweep: Sweep, monkeypatch: pytest.MonkeyPatch
) -> None:
    mine = sweep.submit("runs", ["0000"])["id"]
    names = {"7": f"sparsekit.{sweep.name}.{mine}", "8": f"sparsekit.{sweep.name}.0a1b2c3d"}
    jobs = [Queued(job, "RUNNING", "", "n1", name) for job, name in names.items()]
    monkeypatch.setattr(scheduler, "queue", lambda user: jobs)
    assert [one.job for one in jobs_of(sweep)] == ["7"]
    assert [one.job for one in jobs_of(sweep, ["0000"])] == ["7"]


def test_it_waits_until_slurm_answers(sweep: Sweep, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scheduler, "queue", lambda user: next(answers))
    mine = dataclasses.replace(ONE, name=sweep.job_name(sweep.submit("runs", ["0000"])["id"]))
    answers = iter([None, None, [ONE, mine]])
    assert jobs.ask_queue(sweep) == [mine]


@pytest.mark.parametrize("look", [control.look_after, control.watchdog])
def test_after_a_long_silence_it_says_so(
    look: Callable[[Sweep], None], sweep: Sweep, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scheduler, "queue", lambda user: None)
    monkeypatch.setattr(jobs, "SILENCE_SECONDS", 0.05)
    sweep.submit("controller", ["controller"])
    with pytest.raises(RuntimeError, match=r"SLURM has not answered squeue for 0\.05 s"):
        look(sweep)


@pytest.mark.parametrize(
    ("look", "kind"),
    [(control.look_after, control.CONTROLLER), (control.watchdog, control.WATCHDOG)],
)
@pytest.mark.parametrize("other", ["none", "PENDING", "RUNNING"])
def test_of_several_controllers_or_watchdogs_the_last_submits_the_next(
    look: Callable[[Sweep], None],
    kind: str,
    other: str,
    sweep: Sweep,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    shutil.rmtree(sweep.root / "named")
    ids = {
        name: sweep.submit(name, [name])["id"] for name in (control.CONTROLLER, control.WATCHDOG)
    }
    run = sweep.submit("runs", ["0000"])
    sweep.submitted(run, "7")
    jobs = [Queued("7", "PENDING", "", "", sweep.job_name(run["id"]))]
    if other != "none":
        # It looks for others of its kind: a watchdog does not replace a controller.
        jobs.append(Queued("8", other, "", "", sweep.job_name(ids[kind])))
    other_kind = next(name for name in ids if name != kind)
    jobs.append(Queued("9", "PENDING", "", "", sweep.job_name(ids[other_kind])))
    monkeypatch.setattr(scheduler, "queue", lambda users: jobs)
    monkeypatch.setattr(control, "_cluster", lambda sweep: Slurm())
    submitted: list[object] = []
    monkeypatch.setattr(
        control, "submit_controller", lambda *_, **options: submitted.append(options)
    )
    look(sweep)
    assert len(submitted) == int(other != "PENDING")


@pytest.mark.parametrize(
    ("ended", "state"), [("CANCELLED", "cancelled"), ("FAILED", "lost"), ("NODE_FAIL", "lost")]
)
def test_a_job_that_ended_before_it_said_anything_was_not_cancelled(
    ended: str, state: str, sweep: Sweep, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.rmtree(sweep.root / "named")
    note = sweep.submit("runs", ["0000"])
    note_of_long_ago(sweep, note, job="7")
    monkeypatch.setattr(scheduler, "queue", lambda user: [])
    monkeypatch.setattr(scheduler, "accounts", lambda jobs: {"7": Ended(ended, "1:0")})
    (one,) = observe(sweep)
    assert one.state == state
    assert f"{ended} 1:0" in one.reason
