"""What retry and cancel do, each proved by what became of the runs."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from sparsekit.report.compare import differences
from sparsekit.status.acting import terminate
from sparsekit.store import claims
from sparsekit.store.store import Store
from sparsekit.sweeps.records import Sweep
from sparsekit.system.files import write_json
from tests.status.sweeps import Asked, started, status
from tests.waiting import PATIENCE, wait_until


def test_failed_runs_are_tried_again_where_the_sweep_says(
    asked: Asked, capsys: pytest.CaptureFixture[str]
) -> None:
    asked.fail(True)
    assert asked.here() == 1
    answer = status(capsys, asked.store, "retry", "custom", "1", "--failed")
    assert answer.status == 1, "it fails again"
    assert "trying again 1 run" in answer.out
    assert [run["attempts"] for run in asked.seen()["runs"]] == [1, 2]
    asked.fail(False)
    answer = status(capsys, asked.store, "retry", "custom")
    assert answer.status == 0
    view = asked.seen()
    assert view["counts"] == {"done": 2}
    assert [run["error"] for run in view["runs"]] == [None, None]
    answer = status(capsys, asked.store, "retry", "custom")
    assert (answer.status, answer.out) == (0, "nothing to try again: 2 done\n")


def test_only_what_failed(asked: Asked, capsys: pytest.CaptureFixture[str]) -> None:
    asked.fail(True)
    assert asked.here() == 1
    sweep = asked.sweep
    sweep.write_status("0001", {"state": "stopped", "reason": "stopped by SIGTERM"})
    answer = status(capsys, asked.store, "retry", sweep.name, "1", "--failed")
    assert answer.status == 2
    assert "run 1 is lost, not failed; leave out --failed" in answer.err
    asked.fail(False)
    assert status(capsys, asked.store, "retry", sweep.name, "--failed").status == 0
    assert asked.states() == ["done", "lost"]
    name = sweep.runs[1]["name"]
    assert status(capsys, asked.store, "retry", sweep.name, name).status == 0
    assert asked.states() == ["done", "done"]


def test_a_sweep_of_somebody_else_is_tried_again_only_if_trusted(
    asked: Asked, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked.fail(True)
    assert asked.here() == 1
    asked.fail(False)
    sign = asked.folder / "sign"
    (asked.folder / "hostile.py").write_text(
        f"from pathlib import Path; Path({str(sign)!r}).touch()"
    )
    monkeypatch.syspath_prepend(asked.folder)
    frozen = asked.sweep.frozen
    frozen["runs"][0]["config"]["logger"] = {"_target_": "hostile.logger"}
    write_json(asked.sweep.folder / "sweep.json", frozen)
    for look in ([], ["custom"], ["logs", "custom", "0"], ["retry", "custom"]):
        answer = status(capsys, asked.store, *look)
        assert not sign.exists(), "looking imports nothing"
    assert answer.status == 2
    (line,) = answer.err.splitlines()
    assert "no seal of yours" in line
    assert "imports and calls hostile.logger" in line
    assert "--trust" in line
    answer = status(capsys, asked.store, "retry", "custom", "--trust")
    assert "trusted, as you say: " in answer.out
    assert sign.exists()


def test_one_run_is_cancelled_and_later_goes_on(
    asked: Asked, capsys: pytest.CaptureFixture[str]
) -> None:
    asked.hold()
    with asked.elsewhere("cluster=local", "cluster.processes=2") as pool:
        wait_until(lambda: asked.has_begun("0000", "0001"), "the runs do not begin")
        name = asked.sweep.name
        answer = status(capsys, asked.store, "retry", name, "0")
        assert answer.status == 2
        assert "run 0 is running; cancel it before" in answer.err
        answer = status(capsys, asked.store, "cancel", name, "0")
        assert answer.status == 0
        assert "cancelled 1 run, 1 of them asked to save and end" in answer.out
        wait_until(lambda: asked.states()[0] == "cancelled", "the run is not cancelled")
        assert asked.sweep.last_status("0000")["reason"] == "stopped by SIGTERM"
        asked.release()
        pool.wait(PATIENCE)
    assert asked.states() == ["cancelled", "done"]
    answer = status(capsys, asked.store)
    assert "as somebody asked" in answer.out
    assert status(capsys, asked.store, "retry", name).status == 0
    view = asked.seen()
    assert view["counts"] == {"done": 2}
    assert view["runs"][0]["attempts"] == 2
    apart = dataclasses.replace(asked, name="apart")
    assert apart.here() == 0
    assert list(Store(apart.store).keys("ticket"))
    assert differences(Store(apart.store), Store(asked.store)) == []


def test_what_has_not_begun_is_cancelled_too(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = Asked(tmp_path, ("method=dense", "seed=0,1,2"))
    asked.hold()
    with asked.elsewhere("cluster=local", "cluster.processes=1") as pool:
        wait_until(lambda: asked.has_begun("0000"), "no run begins")
        answer = status(capsys, asked.store, "cancel", "custom")
        assert "cancelled 3 runs, 1 of them asked" in answer.out
        pool.wait(PATIENCE)
    assert asked.states() == ["cancelled"] * 3
    assert not asked.has_begun("0001")
    assert not list(Store(asked.store).keys("ticket"))


def test_watching_a_sweep_to_its_end(asked: Asked) -> None:
    asked.hold()
    with asked.elsewhere("cluster=local", "cluster.processes=2") as pool:
        wait_until(lambda: asked.has_begun("0000", "0001"), "the runs do not begin")
        watcher = started(["sparsekit.status", "--watch", "0.5", "--store", str(asked.store)])
        quitter = started(["sparsekit.status", "--watch", "0.5", "--store", str(asked.store)])
        assert quitter.stdout is not None
        assert "custom" in quitter.stdout.readline()
        quitter.send_signal(signal.SIGINT)
        _, errors = quitter.communicate(timeout=PATIENCE)
        assert (quitter.returncode, errors) == (130, "")
        assert watcher.stdout is not None
        while "2 running" not in watcher.stdout.readline():
            assert watcher.poll() is None
        asked.release()
        printed, errors = watcher.communicate(timeout=PATIENCE)
        assert (watcher.returncode, errors) == (0, "")
        last = [line for line in printed.splitlines() if line and not line.startswith("page: ")]
        assert last[-1].endswith("2 done")  # before or after its page was written
        pool.wait(PATIENCE)


@pytest.fixture
def bystander() -> Iterator[subprocess.Popen[bytes]]:
    """A process that is none of ours."""
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        yield process
        process.kill()


def test_a_reused_number_is_never_hit(finished: Asked, bystander: subprocess.Popen[bytes]) -> None:
    """The claim names another process that had this number, or one on another machine."""
    sweep = finished.sweep
    place = claims.claim(sweep.claims, "0000", stale_after=60)
    assert place is not None
    machine, _, started_at, rest = place.name.split(".")
    for owner in (
        f"{machine}.{bystander.pid}.{started_at}.{rest}",
        f"{machine[::-1]}.{bystander.pid}.{start_of(bystander.pid)}.{rest}",
        f"nobody.0.0.{rest}",
    ):
        place = place.rename(place.with_name(owner))
        assert not terminate(sweep, "0000")
    assert bystander.poll() is None
    assert not terminate(sweep, "0001")


def signed(sweep: Sweep, process: subprocess.Popen[bytes], **changes: object) -> Path:
    """A claim as that process would have made it, but for `changes` in what it says of itself."""
    place = claims.claim(sweep.claims, "0000", stale_after=60)
    assert place is not None
    machine, _, _, rest = place.name.split(".")
    owner = f"{machine}.{process.pid}.{start_of(process.pid)}.{rest}"
    place = place.rename(place.with_name(owner))
    command = Path(f"/proc/{process.pid}/cmdline").read_bytes()
    told = {**json.loads((place / "heartbeat").read_text()), "owner": owner}
    told["command"] = hashlib.sha256(command).hexdigest()
    (place / "heartbeat").write_text(json.dumps({**told, **changes}))
    return place


@pytest.mark.parametrize("changes", [{"command": "0" * 64}, {"store": "0" * 32}, {"owner": "x"}])
def test_only_the_command_that_made_a_claim_here_is_ended(
    changes: dict[str, str], finished: Asked, bystander: subprocess.Popen[bytes]
) -> None:
    """Number and start time are right; but it is another program now, or was started elsewhere."""
    sweep = finished.sweep
    place = signed(sweep, bystander, **changes)
    assert not terminate(sweep, "0000")
    assert bystander.poll() is None
    shutil.rmtree(place.parent)
    signed(sweep, bystander)
    assert terminate(sweep, "0000")
    assert bystander.wait(PATIENCE) == -signal.SIGTERM
    assert not terminate(sweep, "0000")


def test_claims_of_earlier_releases_name_programs_of_ours_alone(
    finished: Asked, bystander: subprocess.Popen[bytes]
) -> None:
    sweep = finished.sweep
    place = signed(sweep, bystander)
    (place / "heartbeat").write_text("")
    assert not terminate(sweep, "0000")
    command = [sys.executable, "-c", "input('sparsekit')"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL) as ours:
        shutil.rmtree(place.parent)
        (signed(sweep, ours) / "heartbeat").write_text("")
        assert terminate(sweep, "0000")
        assert ours.wait(PATIENCE) == -signal.SIGTERM
    assert bystander.poll() is None


def start_of(pid: int) -> str:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]


def test_runs_on_other_machines_are_named(
    finished: Asked, capsys: pytest.CaptureFixture[str]
) -> None:
    sweep = finished.sweep
    run = sweep.runs[0]
    (sweep.root / "named" / run["experiment"] / f"{run['name']}.json").unlink()
    sweep.write_status("0000", {"state": "running", "reason": "", "node": "far"})
    owner = sweep.claims / "0000" / f"abcdef.{os.getpid()}.1.00000000"
    owner.mkdir(parents=True)
    (owner / "heartbeat").touch()
    answer = status(capsys, finished.store, "cancel", "custom")
    assert answer.status == 1
    assert "run 0 is at work on far: end it there" in answer.out
    assert sweep.is_cancelled("0000")
