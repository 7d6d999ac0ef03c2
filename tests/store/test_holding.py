"""Who waits for a claim says for whom, and does not wait for ever."""

from __future__ import annotations

import os
import platform
import signal
from pathlib import Path

import pytest

from sparsekit.store import holding as module
from sparsekit.store.claims import claim, holder, release
from sparsekit.store.holding import StillHeld, holding
from sparsekit.system import interruption
from sparsekit.system.interruption import Stopped
from sparsekit.system.users import user_name

WHAT = "custom-1: submitting jobs"


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "POLL_SECONDS", 0.001)
    monkeypatch.setattr(module, "SECONDS_UNTIL_TOLD", 0.0)
    monkeypatch.setattr(module, "MOST_SECONDS", 0.2)


def test_nobody_is_waited_for_where_nobody_is(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for _ in range(2):
        with holding(tmp_path, "submission", stale_after=60, what=WHAT):
            assert holder(tmp_path, "submission") != ""
        assert holder(tmp_path, "submission") == ""
    assert capsys.readouterr().err == ""


def test_it_is_said_who_is_waited_for_and_that_it_was_in_vain(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("SLURM_JOB_ID", "77")
    who = f"process {os.getpid()} on {platform.node()} in job 77 of {user_name()}"
    held = claim(tmp_path, "submission", stale_after=60)
    assert held is not None
    told = f"{WHAT}: given up after .* s of waiting for {who}"
    waiting = holding(tmp_path, "submission", stale_after=60, what=WHAT)
    with pytest.raises(StillHeld, match=told), waiting:
        raise AssertionError("two of them at once")
    assert capsys.readouterr().err.splitlines() == [f"{WHAT}: waiting for {who}, which is at it"]
    assert held.is_dir()


def test_each_of_those_that_come_first_is_given_its_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who waits behind many is not behind one that hangs."""
    monkeypatch.setattr(module, "MOST_SECONDS", 0.0)
    held = [claim(tmp_path, "submission", stale_after=60)]
    passed: list[float] = []

    def the_next(seconds: float) -> None:
        passed.append(seconds)
        last = held.pop()
        assert last is not None
        release(last)
        if len(passed) < 5:
            held.append(claim(tmp_path, "submission", stale_after=60))

    monkeypatch.setattr(module.time, "sleep", the_next)
    monkeypatch.setattr(module, "holder", lambda *_: f"process {len(passed)}")
    with holding(tmp_path, "submission", stale_after=60, what=WHAT):
        assert len(passed) == 5


def test_who_is_asked_to_end_does_not_wait(tmp_path: Path) -> None:
    assert claim(tmp_path, "submission", stale_after=60) is not None
    interruption.listen()
    os.kill(os.getpid(), signal.SIGUSR2)
    with pytest.raises(Stopped), holding(tmp_path, "submission", stale_after=60, what=WHAT):
        raise AssertionError("two of them at once")


def test_a_claim_of_an_earlier_release_names_its_process(tmp_path: Path) -> None:
    held = claim(tmp_path, "submission", stale_after=60)
    assert held is not None
    (held / "heartbeat").write_text("")
    assert holder(tmp_path, "submission") == f"process {os.getpid()}"
