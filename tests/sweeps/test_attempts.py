"""One attempt of a job: what it records, however it ends."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from sparsekit.store.claims import claim
from sparsekit.store.store import Busy
from sparsekit.sweeps import scheduler
from sparsekit.sweeps.attempts import MAX_IDLE_ATTEMPTS, job_number, run_attempt
from sparsekit.sweeps.freezing import freeze
from sparsekit.sweeps.records import Sweep
from sparsekit.system import interruption
from sparsekit.system.files import read_json, write_json
from sparsekit.system.fit_jobs import Parked
from tests.sweeps.asked import asked_for

MEMBER = "0000"


@pytest.fixture
def sweep(tmp_path: Path) -> Sweep:
    return freeze(tmp_path, "test", asked_for({"name": "one"}))


def raising(error: BaseException) -> Callable[[], None]:
    def work() -> None:
        raise error

    return work


@pytest.mark.parametrize(
    ("work", "state", "reason"),
    [
        (lambda: None, "done", ""),
        (raising(ValueError("no such thing")), "failed", "ValueError: no such thing"),
        (
            raising(RuntimeError("a" * 9999)),
            "failed",
            f"RuntimeError: {'a' * 986}\n...\n{'a' * 1000}",
        ),
        (raising(SystemExit(3)), "failed", "SystemExit: 3"),
        (raising(Busy("fit-1")), "waiting", "another run computes fit-1"),
        (raising(Parked("2 fits are jobs 7")), "parked", "2 fits are jobs 7"),
    ],
)
def test_it_says_how_it_ended(
    sweep: Sweep, work: Callable[[], None], state: str, reason: str
) -> None:
    assert run_attempt(sweep, MEMBER, work, log="a.log") == state
    status = sweep.last_status(MEMBER)
    assert (status["state"], status["reason"], status["log"]) == (state, reason, "a.log")
    assert (status["pid"], status["attempts"]) == (os.getpid(), 1)
    assert bool(status["error"]) == (state == "failed")
    assert status["waits_for"] == ("fit-1" if state == "waiting" else None)
    assert run_attempt(sweep, MEMBER, lambda: None) == "done"
    assert sweep.last_status(MEMBER)["attempts"] == 2
    assert sweep.last_status(MEMBER)["seconds"] > status["seconds"]


def test_its_time_is_measured_whatever_the_clock_does(
    sweep: Sweep, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock, steady = time.time, time.monotonic

    def work() -> None:
        monkeypatch.setattr(time, "time", lambda: clock() - 3600)
        monkeypatch.setattr(time, "monotonic", lambda: steady() + 50)

    assert run_attempt(sweep, MEMBER, work) == "done"
    assert sweep.last_status(MEMBER)["seconds"] >= 50


def test_a_signal_stops_it(sweep: Sweep) -> None:
    def work() -> None:
        os.kill(os.getpid(), signal.SIGUSR2)
        interruption.check()

    assert run_attempt(sweep, MEMBER, work) == "stopped"
    assert sweep.last_status(MEMBER)["reason"] == "stopped by SIGUSR2"


def test_an_interrupt_ends_the_program_after_it_is_said(sweep: Sweep) -> None:
    with pytest.raises(KeyboardInterrupt):
        run_attempt(sweep, MEMBER, raising(KeyboardInterrupt()))
    assert sweep.last_status(MEMBER)["state"] == "stopped"


def test_the_second_at_a_member_leaves_it_alone(sweep: Sweep) -> None:
    calls: list[int] = []
    assert claim(sweep.claims, MEMBER, stale_after=60) is not None
    assert run_attempt(sweep, MEMBER, lambda: calls.append(1)) == "waiting"
    assert calls == []
    assert sweep.last_status(MEMBER) == {}


def stopping_at(sweep: Sweep, step: int) -> Callable[[], None]:
    """Work that is warned when it has come to this step of its fit."""

    def work() -> None:
        sweep.progress(MEMBER).parent.mkdir(exist_ok=True)
        write_json(sweep.progress(MEMBER), {"key": "fit-1", "step": step})
        os.kill(os.getpid(), signal.SIGUSR2)
        interruption.check()

    return work


@pytest.fixture
def left(monkeypatch: pytest.MonkeyPatch) -> list[float | None]:
    """Seconds until the time limit of the job that this process is in."""
    seconds: list[float | None] = [30.0]
    monkeypatch.setenv("SLURM_JOB_ID", "7")
    monkeypatch.delenv("SLURM_ARRAY_JOB_ID", raising=False)
    monkeypatch.setattr(scheduler, "seconds_left", lambda job: seconds[0])
    return seconds


def test_attempts_whose_time_is_too_short_are_not_repeated_for_ever(
    sweep: Sweep, left: list[float | None]
) -> None:
    for step in (5, 6, 7, 8):
        assert run_attempt(sweep, MEMBER, stopping_at(sweep, step)) == "stopped"
    for _ in range(MAX_IDLE_ATTEMPTS - 1):
        assert run_attempt(sweep, MEMBER, stopping_at(sweep, 8)) == "stopped"
    left[0] = 3000.0
    assert run_attempt(sweep, MEMBER, stopping_at(sweep, 8)) == "stopped", "evicted: counts nothing"
    left[0] = 179.0
    assert run_attempt(sweep, MEMBER, stopping_at(sweep, 8)) == "failed"
    assert "resources.minutes gives it more" in sweep.last_status(MEMBER)["reason"]


@pytest.mark.parametrize("seconds", [None, 181.0, 86400.0])
def test_attempts_that_are_warned_before_their_time_is_up_say_nothing_of_it(
    seconds: float | None, sweep: Sweep, left: list[float | None]
) -> None:
    """Evicted, requeued, or warned while they start; or SLURM does not tell."""
    left[0] = seconds
    for _ in range(2 * MAX_IDLE_ATTEMPTS):
        assert run_attempt(sweep, MEMBER, stopping_at(sweep, 8)) == "stopped"


def test_without_slurm_nobody_is_stopped_too_often(sweep: Sweep) -> None:
    for _ in range(2 * MAX_IDLE_ATTEMPTS):
        assert run_attempt(sweep, MEMBER, stopping_at(sweep, 8)) == "stopped"


def test_whatever_is_published_is_further(sweep: Sweep, left: list[float | None]) -> None:
    """Such as the studies of a run, each of which takes most of an attempt."""
    for number in range(2 * MAX_IDLE_ATTEMPTS):
        (sweep.root / "stages" / "study" / f"study-{number}").mkdir(parents=True)
        assert run_attempt(sweep, MEMBER, stopping_at(sweep, 8)) == "stopped"


def test_what_breaks_after_a_signal_is_no_error_of_the_run(sweep: Sweep) -> None:
    def work() -> None:
        os.kill(os.getpid(), signal.SIGTERM)
        raise RuntimeError("a worker was killed")

    assert run_attempt(sweep, MEMBER, work) == "stopped"
    reason = "stopped by SIGTERM; then RuntimeError: a worker was killed"
    assert sweep.last_status(MEMBER)["reason"] == reason


def test_the_number_of_a_job(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("SLURM_JOB_ID", "SLURM_ARRAY_JOB_ID", "SLURM_ARRAY_TASK_ID"):
        monkeypatch.delenv(name, raising=False)
    assert job_number() is None
    monkeypatch.setenv("SLURM_JOB_ID", "12")
    assert job_number() == "12"
    monkeypatch.setenv("SLURM_ARRAY_JOB_ID", "10")
    monkeypatch.setenv("SLURM_ARRAY_TASK_ID", "2")
    assert job_number() == "10_2"


def test_a_status_of_an_earlier_release_is_read(sweep: Sweep) -> None:
    sweep.write_status(MEMBER, {"state": "stopped", "lives": 3, "idle_lives": 1, "seconds": 2.5})
    run_attempt(sweep, MEMBER, lambda: None)
    status = sweep.last_status(MEMBER)
    assert (status["attempts"], status["seconds"] > 2.5) == (4, True)
    assert "lives" not in status


def test_a_status_can_be_read_by_an_earlier_release(sweep: Sweep) -> None:
    run_attempt(sweep, MEMBER, lambda: None)
    written = read_json(sweep.folder / "members" / f"{MEMBER}.json")
    assert (written["lives"], written["idle_lives"]) == (1, 0)
