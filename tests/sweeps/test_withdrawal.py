"""Submissions that do not go through leave nothing in the queue, or what looks after it."""

from __future__ import annotations

import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from sparsekit.configuration.config import ConfigError
from sparsekit.store.store import Store
from sparsekit.sweeps import batch, jobs, launch, member, withdrawal
from sparsekit.sweeps import controller as control
from sparsekit.sweeps.batch import Refused
from sparsekit.sweeps.liveness import observe
from sparsekit.sweeps.records import Sweep
from sparsekit.system.fit_jobs import Parked
from tests.sweeps.asked import note_of_long_ago
from tests.sweeps.fake_slurm import FakeSlurm

RUN_2, CONTROLLER, WATCHDOG = "--time=60 .*--mem=2048M", "--dependency", "--begin="


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    for module, name, seconds in (
        (jobs, "SECONDS_BETWEEN_QUESTIONS", 0.01),
        (jobs, "SILENCE_SECONDS", 2.0),
        (withdrawal, "POLL_SECONDS", 0.01),
        (withdrawal, "GONE_SECONDS", 60.0),  # a busy machine may take its time
        (withdrawal, "SETTLING_SECONDS", 0.3),
    ):
        monkeypatch.setattr(module, name, seconds)


def kinds(sweep: Sweep) -> list[str]:
    return [note["kind"] for note in sweep.submissions()]


def told(slurm: FakeSlurm) -> list[str]:
    """Kinds of the jobs that wait."""
    waiting = [slurm.submitted()[number]["typed"] for number in slurm.queue()]
    return [
        "controller" if CONTROLLER in typed else "watchdog" if WATCHDOG in typed else "runs"
        for typed in waiting
    ]


@pytest.mark.parametrize(
    ("wishes", "words"),
    [
        ({"refused": RUN_2}, "AssocMaxSubmitJobLimit"),
        ({"refused": CONTROLLER}, "AssocMaxSubmitJobLimit; that was the controller"),
        ({"lied_about": "array"}, "Socket timed out"),
        ({"lied_about": CONTROLLER}, "Socket timed out"),
    ],
    ids=["an array", "the controller", "printed a number and failed", "so of the controller"],
)
def test_what_is_refused_in_part_is_taken_back(
    wishes: dict[str, str], words: str, frozen: Sweep, slurm: FakeSlurm
) -> None:
    slurm.wish(**wishes)
    with pytest.raises(ConfigError, match=words):
        launch.start(frozen, range(3))
    assert slurm.submitted() != {}, "something had been accepted"
    assert (slurm.queue(), kinds(frozen)) == ([], [])
    assert {one.state for one in observe(frozen)} == {"open"}
    assert list((frozen.folder / "jobs").glob("*.json")) == []
    slurm.wish()
    assert launch.start(frozen, range(3)) == 0
    assert told(slurm) == ["runs", "runs", "controller", "watchdog"]


def test_what_cannot_be_taken_back_is_named(
    frozen: Sweep, slurm: FakeSlurm, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(withdrawal, "GONE_SECONDS", 0.3)
    slurm.wish(refused=CONTROLLER, clings=True)
    with pytest.raises(ConfigError, match="cancel what stays in the queue: 1001, 1002"):
        launch.start(frozen, range(3))
    assert {one.state for one in observe(frozen)} == {"queued"}


def test_an_interrupt_takes_back_too(
    frozen: Sweep, slurm: FakeSlurm, monkeypatch: pytest.MonkeyPatch
) -> None:
    submit = batch.submit

    def interrupted(options: Any, text: str) -> str:
        number = submit(options, text)
        if CONTROLLER.strip("-") in options:
            raise KeyboardInterrupt
        return number

    monkeypatch.setattr(batch, "submit", interrupted)
    with pytest.raises(KeyboardInterrupt):
        launch.start(frozen, range(3))
    assert (slurm.queue(), kinds(frozen)) == ([], [])


def test_runs_without_a_watchdog_have_their_controller(
    frozen: Sweep, slurm: FakeSlurm, capsys: pytest.CaptureFixture[str]
) -> None:
    slurm.wish(refused=WATCHDOG)
    assert launch.start(frozen, range(3)) == 0
    assert told(slurm) == ["runs", "runs", "controller"]
    assert "warning: lost runs are noticed when the others have ended" in capsys.readouterr().err


def test_arrays_are_no_larger_than_the_cluster_takes(frozen: Sweep, slurm: FakeSlurm) -> None:
    slurm.wish(max_array_size=1)
    assert launch.start(frozen, range(3)) == 0
    assert [job["size"] for job in slurm.submitted().values()] == [None] * 5


def test_a_silence_of_the_queue_is_waited_for(
    frozen: Sweep, slurm: FakeSlurm, capsys: pytest.CaptureFixture[str]
) -> None:
    assert launch.start(frozen, range(3)) == 0
    before = slurm.submitted()
    slurm.wish(squeue_fails=3)
    assert launch.start(frozen, range(3)) == 0
    printed = capsys.readouterr()
    assert "nothing to submit" in printed.out
    assert "SLURM does not answer squeue" in printed.err
    assert slurm.submitted() == before
    slurm.wish(squeue_fails=10**6)
    with pytest.raises(ConfigError, match="SLURM has not answered squeue for 2 s"):
        launch.start(frozen, range(3))


def test_a_submission_that_was_cut_off_before_sbatch(
    frozen: Sweep, slurm: FakeSlurm, capsys: pytest.CaptureFixture[str]
) -> None:
    """The first time that the command is typed again."""
    frozen.submit("runs", ["0000", "0001"])
    one, _, other = observe(frozen)
    assert (one.state, other.state) == ("queued", "open")
    assert launch.start(frozen, range(3)) == 0
    printed = capsys.readouterr()
    assert (
        "a submission of 2 jobs was cut off before SLURM had it: it does not count" in printed.err
    )
    assert "3 submitted" in printed.out
    assert kinds(frozen) == ["runs", "runs", "controller", "watchdog"]


def test_a_submission_that_was_cut_off_after_sbatch(
    frozen: Sweep, slurm: FakeSlurm, capsys: pytest.CaptureFixture[str]
) -> None:
    assert launch.start(frozen, range(3)) == 0
    capsys.readouterr()
    first, _, *others = frozen.submissions()
    frozen.submitted(first, None)
    withdrawal.withdraw(frozen, others)
    assert told(slurm) == ["runs", "runs"]
    assert launch.start(frozen, range(3)) == 0
    printed = capsys.readouterr()
    assert "was cut off when SLURM had it, as job 1001: it goes on" in printed.err
    assert "nothing to submit" in printed.out
    assert frozen.submissions()[0]["job"] == "1001"
    assert told(slurm) == ["runs", "runs", "controller", "watchdog"], "they are looked after again"


def test_a_note_of_long_ago_is_no_reason_to_wait(frozen: Sweep, slurm: FakeSlurm) -> None:
    note = frozen.submit("runs", ["0000"])
    os.utime(frozen.note_file(note), (0, 0))
    withdrawal.settle_submissions(frozen)
    assert kinds(frozen) == []


def test_a_controller_that_is_refused_looks_again_later(
    frozen: Sweep, slurm: FakeSlurm, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In its own job, which no limit keeps from going back into the queue."""
    asked: list[str] = []
    monkeypatch.setattr(member.scheduler, "requeue", lambda job: bool(asked.append(job)) or True)
    monkeypatch.setenv("SLURM_JOB_ID", "7")
    monkeypatch.delenv("SLURM_ARRAY_JOB_ID", raising=False)
    slurm.wish(refused=".")
    for look in (lambda: member.slurm_controller(frozen.folder, 3),):
        look()
    member.slurm_watchdog(frozen.folder)
    assert asked == ["7", "7"]
    monkeypatch.setenv("SLURM_RESTART_COUNT", str(member.MOST_LOOKS))
    with pytest.raises(Refused):
        member.slurm_watchdog(frozen.folder)
    slurm.wish()
    member.slurm_controller(frozen.folder, 3)
    assert told(slurm) == ["runs", "runs", "controller"]


def test_what_is_under_way_is_looked_after_while_slurm_refuses_the_rest(
    frozen: Sweep, slurm: FakeSlurm
) -> None:
    assert launch.start(frozen, [0]) == 0
    slurm.wish(refused=".")
    control.look_after(frozen)
    slurm.wish(refused="mem=1024M")
    control.look_after(frozen)
    assert told(slurm) == ["runs", "controller", "watchdog", "runs"]


def test_fits_that_are_refused_are_not_left_without_their_run(
    frozen: Sweep, slurm: FakeSlurm
) -> None:
    fits: dict[str, Any] = {f"0000.fit-{n}": {"number": n} for n in range(2)}
    slurm.wish(refused=CONTROLLER)
    with pytest.raises(Refused):
        control.submit_fits(frozen, "0000", fits, rounds=1)
    assert (slurm.queue(), kinds(frozen)) == ([], [])
    slurm.wish()
    with pytest.raises(Parked):
        control.submit_fits(frozen, "0000", fits, rounds=1)
    assert kinds(frozen) == ["fits", "continued"]


def test_a_run_whose_fits_are_refused_computes_them_itself(
    frozen: Sweep, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise Refused("SLURM refuses the jobs: QOSMaxSubmitJobPerUserLimit")

    monkeypatch.setattr(control, "submit_fits", refuse)
    monkeypatch.setattr("sparsekit.training.fit.fit_stage", lambda item: SimpleNamespace(key=item))
    items = ["fit-a", "fit-b"]
    done = member._submit_fits(frozen, "0000", Store(tmp_path / "s"), 1, str.upper, items)
    assert done == ["FIT-A", "FIT-B"]


@pytest.mark.parametrize(("fails", "state"), [(0, "cancelled"), (1, "lost")])
def test_while_the_accounting_is_away_nothing_that_died_is_called_cancelled(
    fails: int, state: str, frozen: Sweep, slurm: FakeSlurm
) -> None:
    note = frozen.submit("runs", ["0000"])
    note_of_long_ago(frozen, note, job="7")
    slurm.wish(sacct_fails=fails)
    assert observe(frozen)[0].state == state
