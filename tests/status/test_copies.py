"""Copies, and stores that were moved: what is under way belongs to one store alone."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sparsekit.status.views import view_sweep
from sparsekit.store.place import STORE, id_of
from sparsekit.sweeps import scheduler
from sparsekit.sweeps.jobs import jobs_of
from sparsekit.sweeps.records import Sweep, list_sweeps
from sparsekit.sweeps.scheduler import Queued
from sparsekit.system.files import open_log
from tests.status.sweeps import Asked, status
from tests.status.test_states import forgotten
from tests.waiting import PATIENCE, wait_until


def copied(store: Path, name: str = "backup") -> Path:
    return Path(shutil.copytree(store, store.with_name(name), symlinks=True))


def sweep_in(store: Path) -> Sweep:
    (sweep,) = list_sweeps(store)
    return sweep


def of_an_earlier_release(store: Path) -> None:
    """Nothing in the store says which store it is."""
    (store / STORE).unlink()
    for file in store.glob("sweeps/*/submissions/*.json"):
        note = json.loads(file.read_text())
        new = ("store", "uid", "user", "folder")
        file.write_text(json.dumps({name: v for name, v in note.items() if name not in new}))
    for claim in (*store.glob("work/*/*/heartbeat"), *store.glob("sweeps/*/claims/*/*/heartbeat")):
        claim.write_text("")


AGES: dict[str, Callable[[Path], None]] = {
    "this": lambda store: None,
    "earlier": of_an_earlier_release,
}


@pytest.mark.parametrize("age", AGES)
def test_acting_on_a_copy_leaves_the_processes_of_the_original_alone(
    age: str, asked: Asked, capsys: pytest.CaptureFixture[str]
) -> None:
    asked.hold()
    with asked.elsewhere("cluster=local", "cluster.processes=1") as pool:
        wait_until(lambda: asked.has_begun("0000"), "no run begins")
        AGES[age](asked.store)
        backup = copied(asked.store)
        answer = status(capsys, backup)
        assert answer.status == 0
        assert f"this store is a copy of {asked.store}" in answer.out
        assert f"python -m sparsekit.status adopt --store {backup}" in answer.out
        assert "retry" not in answer.out
        assert "1 lost, 1 open" in answer.out
        for action in ("cancel", "retry"):
            answer = status(capsys, backup, action, "custom")
            assert answer.status == 2
            assert f"{backup} is a copy of {asked.store}" in answer.err
        assert not sweep_in(backup).is_cancelled("0000")
        assert asked.states() == ["running", "open"]
        answer = status(capsys, backup, "adopt")
        assert f"was a copy of {asked.store}, and is a store of its own now" in answer.out
        answer = status(capsys, backup, "cancel", "custom")
        assert "cancelled 2 runs, 0 of them asked to save and end" in answer.out
        assert asked.states() == ["running", "open"]
        asked.release()
        pool.wait(PATIENCE)
    assert asked.states() == ["done", "done"]


def test_a_copy_goes_on_by_itself_once_it_is_adopted(
    asked: Asked, capsys: pytest.CaptureFixture[str]
) -> None:
    """What the original is working on is computed, and not waited for."""
    asked.hold()
    with asked.elsewhere("cluster=local", "cluster.processes=1"):
        wait_until(lambda: asked.has_begun("0000"), "no run begins")
        backup = Asked(asked.folder, asked.runs, name=copied(asked.store).name)
        (asked.folder / "held").rename(asked.folder / "not held")
        assert status(capsys, backup.store, "adopt").status == 0
        assert status(capsys, backup.store, "retry", "custom").status == 0
        assert backup.states() == ["done", "done"]


def test_a_command_makes_a_copy_a_store_of_its_own(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = Asked(tmp_path, ("method=dense", "seed=0"))
    assert asked.here() == 0
    backup = Asked(tmp_path, asked.runs, name=copied(asked.store).name)
    before = sorted(backup.store.glob("stages/*/*"))
    capsys.readouterr()
    assert backup.here() == 0
    told = f"is a copy of {asked.store}; from now on it is a store of its own"
    assert told in capsys.readouterr().err
    assert sorted(backup.store.glob("stages/*/*")) == before
    assert backup.here() == 0
    assert "is a copy of" not in capsys.readouterr().err
    assert id_of(backup.store) != id_of(asked.store)


def test_runs_of_a_store_that_was_moved_are_tried_again_where_it_is(
    asked: Asked, capsys: pytest.CaptureFixture[str]
) -> None:
    asked.fail(True)
    assert asked.here() == 1
    asked.fail(False)
    moved = asked.store.rename(asked.folder / "moved")
    answer = status(capsys, moved)
    assert "is a copy of" not in answer.out
    assert status(capsys, moved, "retry", "custom").status == 0
    assert "2 done" in status(capsys, moved).out
    assert not asked.store.exists()


def test_logs_of_a_copy_made_of_hard_links_are_its_own(tmp_path: Path) -> None:
    log, copy = tmp_path / "0000.log", tmp_path / "copy.log"
    log.write_text("before\n")
    os.link(log, copy)
    for text in (b"after\n", b"again\n"):
        with open_log(copy) as opened:
            opened.write(text)
    assert log.read_text() == "before\n"
    assert copy.read_text() == "before\nafter\nagain\n"
    assert sorted(os.listdir(tmp_path)) == ["0000.log", "copy.log"]


class Queue:
    """A queue of SLURM in which all jobs of a sweep wait; jobs that are taken out are noted."""

    def __init__(self, sweep: Sweep, monkeypatch: pytest.MonkeyPatch) -> None:
        note = sweep.submitted(sweep.submit("runs", ["0000", "0001"]), "77")
        sweep._note({**note, "time": 1.0})
        os.utime(sweep.note_file(note), (1.0, 1.0))  # by the clock of the file server
        rest = ("Priority", "", sweep.job_name(note["id"]), str(os.geteuid()), os.getcwd())
        self.jobs = [Queued(f"77_{index}", "PENDING", *rest) for index in range(2)]
        self.cancelled: list[str] = []
        monkeypatch.setattr(scheduler, "queue", lambda users: self.jobs)
        monkeypatch.setattr(scheduler, "cancel", self.cancelled.extend)
        monkeypatch.setattr(scheduler, "accounts", lambda jobs: {})


@pytest.fixture
def queue(finished: Asked, monkeypatch: pytest.MonkeyPatch) -> Queue:
    forgotten(finished.sweep, 0, 1)
    return Queue(finished.sweep, monkeypatch)


def changed(file: Path, **changes: Any) -> None:
    file.write_text(json.dumps({**json.loads(file.read_text()), **changes}))


@pytest.mark.parametrize("age", AGES)
def test_jobs_of_the_original_are_not_those_of_a_copy(
    age: str, finished: Asked, queue: Queue, capsys: pytest.CaptureFixture[str]
) -> None:
    frozen = json.loads((finished.sweep.folder / "sweep.json").read_text())
    for run in frozen["runs"]:
        run["config"]["runtime"]["store"] = str(finished.store)
    changed(finished.sweep.folder / "sweep.json", runs=frozen["runs"])
    AGES[age](finished.store)
    backup = copied(finished.store)
    assert len(jobs_of(finished.sweep)) == 2
    assert jobs_of(sweep_in(backup)) == []
    assert status(capsys, backup, "cancel", "custom").status == 2
    assert view_sweep(sweep_in(backup)).counts["lost"] == 2
    assert status(capsys, backup, "adopt").status == 0
    assert jobs_of(sweep_in(backup)) == []
    assert status(capsys, backup, "cancel", "custom").status == 0
    assert queue.cancelled == []
    assert status(capsys, finished.store, "cancel", "custom").status == 0
    assert queue.cancelled == ["77_0", "77_1"]


def test_jobs_of_a_store_that_was_moved_are_still_its_own(
    finished: Asked, queue: Queue, capsys: pytest.CaptureFixture[str]
) -> None:
    moved = finished.store.rename(finished.folder / "moved")
    assert view_sweep(sweep_in(moved)).counts == {"done": 2, "queued": 2}
    assert status(capsys, moved, "cancel", "custom").status == 0
    assert queue.cancelled == ["77_0", "77_1"]


@pytest.mark.parametrize(
    "other",
    [{"name": "sparsekit.another.0a1b2c3d"}, {"uid": "1234567"}, {"job": "78_0"}],
    ids=["number used again", "another user", "another number"],
)
def test_jobs_that_only_look_like_ours(
    other: dict[str, str], finished: Asked, queue: Queue, capsys: pytest.CaptureFixture[str]
) -> None:
    first = queue.jobs[0]
    told = {name: getattr(first, name) for name in first.__dataclass_fields__}
    queue.jobs[0] = Queued(**{**told, **other})
    assert [one.job for one in jobs_of(finished.sweep)] == ["77_1"]
    assert status(capsys, finished.store, "cancel", "custom").status == 0
    assert queue.cancelled == ["77_1"]


def test_a_job_whose_number_nobody_wrote_down_is_known_by_its_folder(
    finished: Asked, queue: Queue
) -> None:
    (note,) = finished.sweep.submissions()
    finished.sweep.submitted(note, None)  # type: ignore[arg-type]
    assert len(jobs_of(finished.sweep)) == 2
    finished.sweep._note({**note, "job": None, "folder": "/somewhere/else"})
    assert jobs_of(finished.sweep) == []


def test_how_a_job_ended_is_not_told_by_its_number_alone(
    finished: Asked, queue: Queue, monkeypatch: pytest.MonkeyPatch
) -> None:
    name, queue.jobs = queue.jobs[0].name, []
    for told, state in ((name, "lost"), ("of somebody else", "cancelled")):
        ended = {"77_0": scheduler.Ended("FAILED", "1:0", told)}
        monkeypatch.setattr(scheduler, "accounts", lambda jobs, ended=ended: ended)
        assert view_sweep(finished.sweep).runs[0].state == state
