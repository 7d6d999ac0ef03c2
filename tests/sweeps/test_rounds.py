"""What is lost again and again is submitted `cluster.rounds` times, whatever the clocks say."""

from __future__ import annotations

import time

import pytest

from sparsekit.sweeps import controller as control
from sparsekit.sweeps import launch
from sparsekit.sweeps.records import Sweep
from sparsekit.system.files import write_json
from tests.sweeps.asked import note_of_long_ago
from tests.sweeps.fake_slurm import FakeSlurm

HOUR = 3600.0


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Seconds by which the clock of this machine is wrong."""
    wrong, right = [0.0], time.time
    monkeypatch.setattr(time, "time", lambda: right() + wrong[0])
    return wrong


def times_lost(sweep: Sweep, slurm: FakeSlurm) -> int:
    """How often run 0 is submitted, when all its jobs end without a word."""
    before = len(sweep.submissions())
    for _ in range(3):
        for note in sweep.submissions():
            note_of_long_ago(sweep, note)
        slurm.end()
        control.watchdog(sweep)
    notes = [note for note in sweep.submissions()[before:] if "0000" in note["members"]]
    return sum(note["kind"] == "runs" for note in notes)


@pytest.mark.parametrize("ahead", [HOUR, -HOUR])
def test_rounds_are_counted_since_somebody_asked(
    ahead: float, frozen: Sweep, slurm: FakeSlurm, clock: list[float]
) -> None:
    """The command and `retry` are typed on a machine with another clock than those of the jobs."""
    for _ in range(2):
        clock[0] = ahead
        assert launch.start(frozen, range(3)) == 0
        clock[0] = 0.0
        assert times_lost(frozen, slurm) == 1, "cluster.rounds=1"


@pytest.mark.parametrize("folder", ["renewed", "reset"])
def test_times_of_earlier_releases_are_not_believed(
    folder: str, frozen: Sweep, slurm: FakeSlurm
) -> None:
    assert launch.start(frozen, range(3)) == 0
    (frozen.folder / folder).mkdir(exist_ok=True)
    write_json(frozen.folder / folder / "0000.json", time.time() + HOUR)
    assert times_lost(frozen, slurm) == 1


def test_submissions_are_in_their_order(frozen: Sweep, clock: list[float]) -> None:
    frozen._note({"id": "old", "kind": "runs", "members": ["0000"], "job": "1", "time": 9e9})
    for wrong in (0.0, HOUR, -HOUR):
        clock[0] = wrong
        frozen.submit("runs", ["0000"])
    notes = frozen.submissions()
    assert notes[0]["id"] == "old"
    assert [note.get("order") for note in notes] == [None, 1, 2, 3]


@pytest.mark.parametrize("ahead", [HOUR, -HOUR])
@pytest.mark.parametrize("whose", ["the submitting machine", "the one that looks"])
def test_what_was_just_submitted_is_waited_for_a_moment_only(
    whose: str, ahead: float, frozen: Sweep, slurm: FakeSlurm, clock: list[float]
) -> None:
    """A job that has left the queue already may be about to show itself. The file server's clock
    says how long ago that was."""
    clock[0] = ahead if whose == "the submitting machine" else 0.0
    assert launch.start(frozen, range(3)) == 0
    clock[0] = ahead - clock[0]
    slurm.end()
    assert control.observe(frozen)[0].state == "queued"
    for note in frozen.submissions():
        note_of_long_ago(frozen, note)
    assert control.observe(frozen)[0].state == "lost"
