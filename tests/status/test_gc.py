"""What gc finds, what it keeps for whom, and that it deletes nothing unless asked."""

from __future__ import annotations

import json
import os
import re
import shutil
import time
from pathlib import Path

import pytest

from sparsekit.status.garbage import DAY, delete, find_garbage
from sparsekit.store import claims
from sparsekit.store.identity import Stage
from sparsekit.store.sealing import DESCRIPTION
from sparsekit.store.store import Store
from tests.status.sweeps import Asked, status
from tests.status.test_looking import everything
from tests.waiting import wait_until

KINDS = ("init", "pruned", "fit", "ticket", "study")


def keys(asked: Asked) -> set[str]:
    return {key for kind in KINDS for key in Store(asked.store).keys(kind)}


def found(asked: Asked, days: float = 0.0) -> set[str]:
    return {one.path.name for one in find_garbage(asked.store, days=days).garbage}


def record_of(asked: Asked, number: int) -> Path:
    run = asked.sweep.runs[number]
    return asked.store / "named" / run["experiment"] / f"{run['name']}.json"


def given_up(asked: Asked, *numbers: int) -> None:
    """Delete the records of runs, and all that the sweep says of any."""
    for number in numbers:
        record_of(asked, number).unlink()
    for part in ("members", "progress"):
        shutil.rmtree(asked.sweep.folder / part, ignore_errors=True)


def rewritten(file: Path, **changes: object) -> None:
    file.write_text(json.dumps({**json.loads(file.read_text()), **changes}))


def chain(asked: Asked, *numbers: int) -> set[str]:
    """Stages of these runs."""
    rows = [row for n in numbers for row in json.loads(record_of(asked, n).read_text())["rows"]]
    return set(Store(asked.store).ancestors(*(row["ticket"] for row in rows)))


def test_what_runs_need_is_no_garbage(finished: Asked) -> None:
    assert found(finished) == set()
    assert len(keys(finished)) == 2 * 7


def test_stages_of_a_run_given_up(finished: Asked, capsys: pytest.CaptureFixture[str]) -> None:
    """Runs 2 and 3 prune what 0 and 1 train: theirs alone are a start, a fit and a ticket."""
    mine, others = chain(finished, 2), chain(finished, 0, 1, 3)
    given_up(finished, 2)
    before = everything(finished.store)
    answer = status(capsys, finished.store, "gc", "--days", "0")
    assert answer.status == 0
    assert everything(finished.store) == before
    listed = set(re.findall(r"stages/\w+/(\S+) ", answer.out))
    assert listed == mine - others
    assert len(listed) == 3
    again = f"python -m sparsekit.status gc --delete --days 0 --store {finished.store}"
    assert answer.out.rstrip().endswith(f"delete: {again}")
    assert status(capsys, finished.store, "gc", "--delete").status == 0
    assert everything(finished.store) == before, "it is younger than a day"
    answer = status(capsys, finished.store, "gc", "--days", "0", "--delete")
    assert re.search(r"deleted 3 pieces of garbage, [\d.]+ kB", answer.out)
    assert keys(finished) == others
    assert "0 pieces of garbage, 0 B" in status(capsys, finished.store, "gc", "--days", "0").out
    assert finished.states() == ["done", "done", "open", "done"]


def test_what_was_made_from_garbage_lately_keeps_it(finished: Asked) -> None:
    given_up(finished, 2)
    store = Store(finished.store)
    ticket = next(iter(found(finished) & set(store.keys("ticket"))))
    for key in keys(finished) - {ticket}:
        file = store.path(key) / DESCRIPTION
        rewritten(file, provenance={"started": 0.0, "finished": 1.0, "session": "x"})
    assert found(finished, days=1) == set()
    file = store.path(ticket) / DESCRIPTION
    rewritten(file, provenance={"started": 0.0, "finished": 1.0, "session": "x"})
    assert len(found(finished, days=1)) == 3


def test_a_key_in_a_sweep_keeps_a_stage(finished: Asked) -> None:
    given_up(finished, 2)
    fit = next(key for key in found(finished) if key.startswith("fit-"))
    finished.sweep.write_status("0002", {"state": "stopped", "reason": "", "position": [fit, 7]})
    assert {key.partition("-")[0] for key in found(finished)} == {"ticket"}


def test_an_unfinished_run_keeps_what_it_goes_on_from(finished: Asked) -> None:
    """Its record begins anew, without any row, whenever it goes on."""
    given_up(finished, 2)
    assert len(found(finished)) == 3
    same_seed, other_seed = record_of(finished, 0), record_of(finished, 1)
    for status_now in ("running", "interrupted", "failed"):
        rewritten(same_seed, status=status_now, rows=[], stages=[])
        assert found(finished) == set()
    rewritten(same_seed, status="done")
    rewritten(other_seed, status="failed")
    assert len(found(finished)) >= 3
    rewritten(same_seed, status="running")
    config = json.loads(same_seed.read_text())["config"]
    model = {**config["model"], "hidden": [8]}
    rewritten(same_seed, config={**config, "model": model})
    assert len(found(finished)) > 3, "another model begins with other weights"


@pytest.mark.parametrize("damage", ["", "{", "[]", '{"rows": []}'])
def test_nothing_is_deleted_while_a_record_cannot_be_read(
    damage: str, finished: Asked, capsys: pytest.CaptureFixture[str]
) -> None:
    given_up(finished, 2)
    record_of(finished, 1).write_text(damage)
    before = everything(finished.store)
    answer = status(capsys, finished.store, "gc", "--days", "0", "--delete")
    assert answer.status == 1
    assert str(record_of(finished, 1)) in answer.out
    assert "stages and work stay" in answer.out
    assert everything(finished.store) == before


def test_nothing_is_deleted_while_a_stage_cannot_be_read(
    finished: Asked, capsys: pytest.CaptureFixture[str]
) -> None:
    given_up(finished, 2)
    key = next(iter(chain(finished, 0)))
    (Store(finished.store).path(key) / DESCRIPTION).unlink()
    before = everything(finished.store)
    answer = status(capsys, finished.store, "gc", "--days", "0", "--delete")
    assert answer.status == 1
    assert key in answer.out
    assert everything(finished.store) == before


def test_damaged_stages_and_links_that_nobody_needs(finished: Asked, tmp_path: Path) -> None:
    """A link is deleted, and not what it leads to."""
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "precious").touch()
    given_up(finished, 2)
    key = next(key for key in found(finished) if key.startswith("ticket-"))
    (Store(finished.store).path(key) / DESCRIPTION).write_text("{")
    (finished.store / "corrupt").mkdir(exist_ok=True)
    links = [
        finished.store / "stages" / "fit" / f"fit-{'0' * 20}",
        finished.store / "work" / f"fit-{'0' * 20}",
        finished.store / "work" / ".trash.1",
        finished.store / "corrupt" / "x",
        finished.store / ".trash.2",
    ]
    for link in links:
        link.symlink_to(outside)
    assert found(finished, days=1) == set()
    assert {key, *(link.name for link in links)} <= found(finished)
    delete(find_garbage(finished.store, days=0).garbage, finished.store)
    assert found(finished) == set()
    assert not any(os.path.lexists(link) for link in links)
    assert os.listdir(outside) == ["precious"]


def test_what_killed_writers_leave(finished: Asked) -> None:
    """Files that were to be renamed, wherever they lie; not what SLURM and others write."""
    sweep = finished.sweep.folder
    (sweep / "code").mkdir()
    left = [
        record_of(finished, 0).with_name(f".{record_of(finished, 0).name}.0123abcd"),
        record_of(finished, 0).with_name(".0123abcd.partial.png"),
        sweep / ".sweep.json.0123abcd",
        sweep / "members" / ".0123abcd.partial",
        sweep / "progress" / ".0000.json.0123abcd",
    ]
    others = [sweep / "code" / ".x.0123abcd", sweep / "members" / ".hidden", sweep / "notes.txt"]
    for file in (*left, *others):
        file.touch()
    assert found(finished, days=1) == set()
    assert found(finished) == {file.name for file in left}
    delete(find_garbage(finished.store, days=0).garbage, finished.store)
    assert not any(file.exists() for file in left)
    assert all(file.exists() for file in others)


def test_a_folder_that_leads_out_of_the_store_is_refused(
    finished: Asked, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given_up(finished, 2)
    (finished.store / "stages" / "fit").rename(tmp_path / "fit")
    (finished.store / "stages" / "fit").symlink_to(tmp_path / "fit")
    before = everything(tmp_path)
    answer = status(capsys, finished.store, "gc", "--days", "0", "--delete")
    assert answer.status == 2
    assert "stages/fit is a link out of the store" in answer.err
    assert everything(tmp_path) == before


def aged(folder: Path) -> None:
    """Let it look as if nobody had touched it for two days."""
    for path in (folder, *folder.rglob("*")):
        then = path.stat().st_mtime - 2 * DAY
        os.utime(path, (then, then))


def test_work_folders(finished: Asked) -> None:
    work = finished.store / "work"
    published = next(iter(chain(finished, 0)))
    lost, held = (f"fit-{'ab'[n] * 20}" for n in range(2))
    for key in (published, lost, held):
        folder = claims.claim(work, key, stale_after=60)
        assert folder is not None
        (folder / "scratch").write_text("a checkpoint")
        if key != held:
            claims.resign(folder)
    (work / ".abcd.1.2.3" / "abcd.1.2.3").mkdir(parents=True)
    assert found(finished, days=1) == set()
    aged(work)
    expected = {published, lost, ".abcd.1.2.3"}
    assert found(finished, days=1) == expected, "not what this process is at work on"
    rewritten(record_of(finished, 1), status="interrupted")
    assert found(finished, days=1) == expected - {lost}, "its checkpoint may be there"
    delete(find_garbage(finished.store, days=1).garbage, finished.store)
    assert sorted(os.listdir(work)) == [lost, held]


def test_damaged_results_and_trash(finished: Asked) -> None:
    store = Store(finished.store)
    given_up(finished, 2)
    ticket = next(key for key in found(finished) if key.startswith("ticket-"))
    (store.path(ticket) / "metrics.json").write_text("{}")
    assert not store.has(ticket)
    (finished.store / "work" / ".trash.1").mkdir(parents=True)
    names = {one.path.parent.name for one in find_garbage(finished.store, days=0).garbage}
    assert names == {"corrupt", "work", "fit", "pruned"}
    before = keys(finished)
    delete(find_garbage(finished.store, days=0).garbage, finished.store)
    assert list((finished.store / "corrupt").iterdir()) == []
    assert list((finished.store / "work").iterdir()) == []
    assert len(before - keys(finished)) == 2


def test_a_run_goes_on_after_its_garbage_was_deleted(
    asked: Asked, capsys: pytest.CaptureFixture[str]
) -> None:
    asked.hold()
    with asked.elsewhere("cluster=local", "cluster.processes=1"):
        wait_until(lambda: asked.has_begun("0000"), "no run begins")
        sessions = {key: Store(asked.store).description(key)["provenance"] for key in keys(asked)}
        assert sessions
        stage = Stage("study", {"of": "nothing"})
        Store(asked.store).ensure(stage, lambda folder: None)
        answer = status(capsys, asked.store, "gc", "--delete", "--days", "0")
        assert "deleted 1 piece" in answer.out
        assert stage.key in answer.out
        asked.release()
        wait_until(lambda: asked.states() == ["done", "done"], "the runs do not end")
    for key, made in sessions.items():
        assert Store(asked.store).description(key)["provenance"] == made


def test_what_is_deleted_is_old_by_the_clock_of_the_file_server(
    finished: Asked, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Typed on a machine that is ten days ahead, it takes nothing that was made just now."""
    given_up(finished, 0, 1, 2, 3)
    before = keys(finished)
    right = time.time
    with monkeypatch.context() as patch:
        patch.setattr(time, "time", lambda: right() + 10 * DAY)
        assert status(capsys, finished.store, "gc", "--delete", "--days", "1").status == 0
    assert keys(finished) == before
    assert status(capsys, finished.store, "gc", "--delete", "--days", "0").status == 0
    assert keys(finished) < before
