"""What logs and why tell."""

from __future__ import annotations

import os
import re
import time
from pathlib import Path

import pytest

from sparsekit.status.logs import tail
from sparsekit.store import claims
from sparsekit.store.store import Store
from sparsekit.system.files import write_json
from tests.status.sweeps import Asked, status
from tests.waiting import PATIENCE, wait_until


def test_logs_of_processes(asked: Asked, capsys: pytest.CaptureFixture[str]) -> None:
    asked.fail(True)
    with asked.elsewhere("cluster=local") as pool:
        assert pool.wait(PATIENCE) == 1
    name = asked.sweep.name
    log = asked.sweep.folder / "jobs" / "0000.log"
    answer = status(capsys, asked.store, "logs", name, "0", "--lines", "2")
    assert answer.out.startswith(f"--- 0000: {log}\n")
    assert "\n".join(log.read_text().splitlines()[-2:]) in answer.out
    assert answer.out.rstrip().endswith("ValueError: this run was told to fail\nfor a test")
    whole = status(capsys, asked.store, "logs", name, asked.sweep.runs[0]["name"], "--lines", "999")
    assert log.read_text().rstrip() in whole.out
    assert whole.out.count("\nValueError: this run was told to fail") == 1


def test_logs_of_jobs_and_of_fits(finished: Asked, capsys: pytest.CaptureFixture[str]) -> None:
    sweep = finished.sweep
    jobs = sweep.folder / "jobs"
    jobs.mkdir(exist_ok=True)
    fit = "0001.fit-3f698378a9d24ea734c4"
    for number, (kind, members) in enumerate(
        [("runs", ["0000", "0001"]), ("fits", [fit, "0001.fit-0"]), ("continued", ["0001"])]
    ):
        sweep.submitted(sweep.submit(kind, members), f"7{number}")
        time.sleep(0.01)
    for name in ("70_0", "70_1", "71_0", "72"):
        (jobs / f"{name}_0_log.out").write_text(f"first of {name}\nlast of {name}\n")
    sweep.write_status("0001", {"state": "done", "reason": "", "log": str(jobs / "72_0_log.out")})
    sweep.write_status(
        fit, {"state": "failed", "reason": "", "log": None, "error": "Traceback\nof it\n"}
    )
    answer = status(capsys, finished.store, "logs", "custom", "1", "--lines", "1")
    assert answer.out.splitlines() == [
        f"--- 0001: {jobs}/70_1_0_log.out",
        f"--- 0001: {jobs}/72_0_log.out",
        "last of 72",
    ]
    answer = status(capsys, finished.store, "logs", "custom", "1", "--lines", "1", "--fits")
    text = answer.out.partition(f"--- {fit}")[2]
    assert f"{jobs}/71_0_0_log.out\nlast of 71_0\n--- {fit}: error\nTraceback\nof it" in text
    assert "--- 0001.fit-0: no log; it has not begun" in answer.out


def test_logs_of_runs_in_a_terminal(finished: Asked, capsys: pytest.CaptureFixture[str]) -> None:
    answer = status(capsys, finished.store, "logs", "custom", "2")
    assert answer.out == "--- 0002: no log; it printed where the sweep was started\n"


def test_the_end_of_a_log(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_bytes(b"x" * 3_000_000 + b"\n 0%\r50%\r100%\r\nb\xff\nc")
    assert tail(log, 3) == ["100%", "b�", "c"]
    assert tail(log, 0) == []
    assert len(tail(log, 9)) == 4
    log.write_text("")
    assert tail(log, 3) == []


def ticket_of(asked: Asked, number: int, cycle: int = -1) -> str:
    record = asked.sweep.record(number)
    assert record is not None
    return str(record["rows"][cycle]["ticket"])


def test_why_a_stage_is_there(finished: Asked, capsys: pytest.CaptureFixture[str]) -> None:
    dense, pruned = ticket_of(finished, 0), ticket_of(finished, 2)
    store = Store(finished.store)
    (fit,) = store.description(pruned)["inputs"]
    (start,) = store.description(fit)["inputs"]
    answer = status(capsys, finished.store, "why", pruned[:12])
    assert answer.status == 0
    lines = answer.out.splitlines()
    assert lines[0] == pruned
    assert "merge = single()" in answer.out
    assert re.search(r"finished \d{4}-\d\d-\d\d .* took \d+s, in .*stages/ticket/", lines[1])
    assert re.search(r"B  metrics.json  checksum holds", answer.out)
    tree = answer.out.partition("made of\n")[2].splitlines()
    depths = {line.split()[0]: len(line) - len(line.lstrip()) for line in tree[:4]}
    assert depths == {pruned: 2, fit: 4, start: 6, dense: 8}
    assert "cycle=1" in tree[1]
    assert "sparsity=0.9" in tree[2]
    assert "... and 3 stages before (--depth)" in answer.out
    assert "referred to by 1 run; 0 stages made from it" in answer.out
    name = finished.sweep.runs[2]["name"]
    assert f"custom/{name}  run 2 of {finished.sweep.name}" in answer.out
    deep = status(capsys, finished.store, "why", pruned, "--depth", "9").out
    assert "--depth" not in deep
    assert "train as above" in deep, "long settings are written out once"
    assert re.search(r"init-\S+ +problem.data=digits.* seed=0", deep)


def test_why_names_those_who_share_a_stage(
    finished: Asked, capsys: pytest.CaptureFixture[str]
) -> None:
    answer = status(capsys, finished.store, "why", ticket_of(finished, 1))
    assert "referred to by 2 runs; 3 stages made from it" in answer.out
    assert all(f"run {number} of" in answer.out for number in (1, 3))
    assert not any(f"run {number} of" in answer.out for number in (0, 2))


def test_why_sees_damage(finished: Asked, capsys: pytest.CaptureFixture[str]) -> None:
    key = ticket_of(finished, 0)
    folder = Store(finished.store).path(key)
    (folder / "metrics.json").write_text("{}")
    (folder / "parts.json").unlink()
    answer = status(capsys, finished.store, "why", key)
    assert "metrics.json  CHECKSUM DOES NOT HOLD" in answer.out
    assert "parts.json  UNREADABLE: No such file" in answer.out
    description = folder / "description.json"
    description.write_text(description.read_text().replace("single", "double"))
    answer = status(capsys, finished.store, "why", key)
    assert answer.status == 0
    assert "DAMAGED" in answer.out


def test_why_somebody_is_at_work(asked: Asked, capsys: pytest.CaptureFixture[str]) -> None:
    asked.hold()
    with asked.elsewhere("cluster=local", "cluster.processes=1"):
        wait_until(lambda: asked.has_begun("0000"), "no run begins")
        (key,) = (path.name for path in (asked.store / "work").glob("fit-*"))
        out = status(capsys, asked.store, "why", key).out
        pid = asked.sweep.last_status("0000")["pid"]
        assert f"{key} is not published" in out
        assert re.search(rf"in work by process {pid} since .*, last heard of \d+s ago", out)
        assert re.search(rf"run 0 of {asked.sweep.name}, on \S+, job None: step \d+ of \d+", out)


def test_why_work_was_left(finished: Asked, capsys: pytest.CaptureFixture[str]) -> None:
    key = f"fit-{'a' * 20}"
    folder = claims.claim(finished.store / "work", key, stale_after=60)
    assert folder is not None
    claims.resign(folder)
    out = status(capsys, finished.store, "why", "fit-aaa").out
    assert "its work was left by its owner" in out
    assert os.listdir(finished.store / "work" / key)


def test_why_goes_on_without_damaged_records(
    finished: Asked, capsys: pytest.CaptureFixture[str]
) -> None:
    ticket = ticket_of(finished, 0)
    before = status(capsys, finished.store, "why", ticket).out
    write_json(finished.store / "named" / "notes.json", ["not a record"])
    assert status(capsys, finished.store, "why", ticket).out == before
    write_json(finished.store / "named" / "imp-seed0-01234567.json", [])
    out = status(capsys, finished.store, "why", ticket).out
    assert out.startswith(before.rstrip())
    assert "imp-seed0-01234567.json is not a record of a run: expected a mapping, got []" in out
