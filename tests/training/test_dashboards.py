"""wandb hears everything and can change nothing: slow, dead or missing, results are the same."""

from __future__ import annotations

import json
import os
import signal
import struct
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from sparsekit.core.fit_spec import FitSpec, Problem
from sparsekit.report.compare import differences
from sparsekit.runs.runner import PreparedRun, run_prepared
from sparsekit.store.store import Store
from sparsekit.system import interruption
from sparsekit.training import dashboards
from sparsekit.training.checkpoints import Checkpoints
from sparsekit.training.observing import RunningFit
from tests.system.processes import ended, forked, wait_for
from tests.waiting import PATIENCE, wait_until

wandb_internal = pytest.importorskip("wandb.proto.wandb_internal_pb2")
WANDB = ("logger=wandb", f"logger.patience={PATIENCE}")
Build = Callable[..., PreparedRun]


@pytest.fixture(autouse=True)
def nobody_is_logged_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for name in list(os.environ):
        if name.startswith("WANDB_"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("NETRC", str(tmp_path / "home" / ".netrc"))
    dashboards._child.cache_clear()
    yield
    dashboards._child.cache_clear()


def finish(patience: float = PATIENCE) -> int | None:
    """Let the child finish, as at the end of the program; its exit status, -9 where it was killed.

    Who would wait for a child that has ended, or is not there, would hang.
    """
    child = dashboards._child(patience)
    child.finish()
    return child.process.poll() if child.process else None


def payloads(file: Path) -> Iterator[bytes]:
    """Records of a .wandb file: LevelDB's log format, blocks of 32 KiB, after 7 bytes of header."""
    content, position, pending = file.read_bytes(), 7, b""
    assert content.startswith(b":W&B")
    while position + 7 <= len(content):
        if 32768 - position % 32768 < 7:
            position += 32768 - position % 32768
            continue
        _, size, kind = struct.unpack_from("<IHB", content, position)
        pending += content[position + 7 : position + 7 + size]
        position += 7 + size
        if kind in (1, 4):
            yield pending
            pending = b""


class Mirrored:
    """What one offline run of wandb has been told."""

    def __init__(self, file: Path) -> None:
        self.rows: list[dict[str, Any]] = []
        self.config: dict[str, Any] = {}
        self.exit_code: int | None = None
        self.is_preempted = False
        for payload in payloads(file):
            record = wandb_internal.Record.FromString(payload)
            kind = record.WhichOneof("record_type")
            if kind == "run":
                self.run = record.run
                self.config |= {c.key: json.loads(c.value_json) for c in record.run.config.update}
            elif kind == "history":
                items = {(i.key or i.nested_key[0]): i.value_json for i in record.history.item}
                told = {name: json.loads(text) for name, text in items.items()}
                self.rows.append({k: v for k, v in told.items() if not k.startswith("_")})
            elif kind == "preempting":
                self.is_preempted = True
            elif kind == "exit":
                self.exit_code = record.exit.exit_code


def mirrored(store: Store) -> list[Mirrored]:
    files = sorted((store.root / "wandb").glob("offline-run-*/*.wandb"))
    return [Mirrored(file) for file in files]


def test_a_run_of_wandb_says_what_the_store_says(tiny: Build) -> None:
    """Without a key it is offline; its id is the fit's key, its rows are the fit's history."""
    job = tiny("method=imp", "method.cycles=1", "train.epochs=3", "seed=4", *WANDB)
    store = job.store
    run_prepared(job, "test")
    assert finish() == 0
    runs = {told.run.run_id: told for told in mirrored(store)}
    assert set(runs) == set(store.keys("fit"))
    assert len(runs) == 2
    for key, told in runs.items():
        history = store.read(key, "history.json")
        assert told.rows == history
        assert len(history) == 3
        assert (told.exit_code, told.is_preempted) == (0, False)
        assert told.run.run_group == "custom/imp/seed4"
        assert told.run.job_type == "imp"
        assert list(told.run.tags) == ["custom"]
        expected = json.loads(json.dumps(dict(job.run.config)))
        asked = store.description(key)["config"]
        assert {k: v for k, v in told.config.items() if k not in ("_wandb", "fit")} == expected
        assert told.config["fit"]["cycle"] == asked["cycle"]
        assert told.config["fit"]["seed"] == 4


def plain(tiny: Build) -> Store:
    job = tiny("train.epochs=2", store="plain")
    run_prepared(job, "test")
    return job.store


MISSING = (
    "import sys; sys.modules['wandb'] = None;"
    "from sparsekit.training.wandb_child import main; sys.exit(main(sys.stdin))"
)
SLEEP = f"import sys, time; time.sleep({PATIENCE})"
BROKEN = {
    "never reads": (SLEEP, 0.5, -signal.SIGKILL),
    "ignores the end": (f"import sys; sys.stdin.read(); {SLEEP}", 0.5, -signal.SIGKILL),
    "crashes at once": ("import sys; sys.exit(3)", PATIENCE, 3),
    "crashes later": ("import sys; sys.stdin.readline(); sys.exit(3)", PATIENCE, 3),
    "is missing": (MISSING, PATIENCE, 1),
}


@pytest.mark.parametrize(("code", "patience", "ending"), BROKEN.values(), ids=BROKEN)
def test_a_broken_wandb_changes_nothing_and_is_not_waited_for(
    tiny: Build, monkeypatch: pytest.MonkeyPatch, code: str, patience: float, ending: int
) -> None:
    expected = plain(tiny)
    monkeypatch.setattr(dashboards, "COMMAND", (sys.executable, "-c", code))
    job = tiny("train.epochs=2", "logger=wandb", f"logger.patience={patience}", store="broken")
    assert run_prepared(job, "test")["status"] == "done"
    assert finish(patience) == ending
    assert differences(expected, job.store) == []
    assert len(list(job.store.keys("fit"))) == 1


def test_a_command_that_does_not_exist_changes_nothing(
    tiny: Build, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    expected = plain(tiny)
    monkeypatch.setattr(dashboards, "COMMAND", ("/nonexistent/python",))
    job = tiny("train.epochs=2", *WANDB, store="broken")
    assert run_prepared(job, "test")["status"] == "done"
    assert finish() is None
    assert differences(expected, job.store) == []
    assert "warning: wandb cannot be started" in capfd.readouterr().err


def test_the_mirror_itself_changes_nothing(tiny: Build) -> None:
    expected = plain(tiny)
    job = tiny("train.epochs=2", *WANDB, store="mirrored")
    run_prepared(job, "test")
    finish()
    assert differences(expected, job.store) == []
    assert len(mirrored(job.store)) == 1


def test_telling_never_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    """To a child that does not read: who waited would hang."""
    monkeypatch.setattr(dashboards, "COMMAND", (sys.executable, "-c", SLEEP))
    child = dashboards.Child(0.5)
    for _ in range(50):
        child.tell("log", {"more than fits into the pipe": "x" * 100_000})
    child.finish()
    assert child.process is not None
    assert child.process.poll() == -signal.SIGKILL


def test_a_child_that_is_killed_takes_its_own_children_along(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    note = tmp_path / "pid"
    code = (
        f"import os, subprocess, time; p = subprocess.Popen(['sleep', '{PATIENCE}']);"
        f"open('{note}.new', 'w').write(str(p.pid)); os.rename('{note}.new', '{note}');"
        f"time.sleep({PATIENCE})"
    )
    monkeypatch.setattr(dashboards, "COMMAND", (sys.executable, "-c", code))
    child = dashboards.Child(0.5)
    wait_for(note)
    child.finish()
    grandchild = Path(f"/proc/{note.read_text()}/stat")

    def gone() -> bool:
        try:
            return ") Z " in grandchild.read_text()
        except OSError:
            return True

    wait_until(gone, "it lives on")


def test_the_child_steps_back_for_the_training(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dashboards, "COMMAND", (sys.executable, "-c", NICENESS))
    child = dashboards.Child(PATIENCE)
    child.finish()
    assert child.process is not None
    assert child.process.returncode == 19


NICENESS = (
    "import os, sys; sys.modules['wandb'] = None;"
    "from sparsekit.training.wandb_child import main; main([]); sys.exit(os.nice(0))"
)


def test_a_resumed_fit_continues_the_same_run(tiny: Build) -> None:
    job = tiny("train.epochs=3", "runtime.checkpoint_seconds=0", *WANDB)

    def live_and_die() -> None:
        save = Checkpoints.save

        def last_save(self: Checkpoints, fit: RunningFit) -> None:
            save(self, fit)
            if fit.step == 30:
                finish()
                os.kill(os.getpid(), signal.SIGKILL)

        Checkpoints.save = last_save  # type: ignore[method-assign]
        run_prepared(job, "test")

    assert ended(forked(live_and_die)) == -signal.SIGKILL
    run_prepared(job, "test")
    finish()
    before, after = mirrored(job.store)
    (key,) = job.store.keys("fit")
    assert before.run.run_id == after.run.run_id == key
    assert before.rows + after.rows == job.store.read(key, "history.json")
    assert before.rows
    assert after.rows


def test_a_fit_that_was_asked_to_end_is_preempted_and_has_not_failed(tiny: Build) -> None:
    job = tiny("train.epochs=3", *WANDB)

    def live_and_stop() -> None:
        look = Checkpoints.save_or_stop

        def asked(self: Checkpoints, fit: RunningFit) -> None:
            if fit.step == 30:
                os.kill(os.getpid(), signal.SIGTERM)
            look(self, fit)

        Checkpoints.save_or_stop = asked  # type: ignore[method-assign]
        interruption.listen()
        with pytest.raises(interruption.Stopped):
            run_prepared(job, "test")
        finish()

    assert ended(forked(live_and_stop)) == 0
    run_prepared(job, "test")
    finish()
    before, after = mirrored(job.store)
    assert (before.is_preempted, after.is_preempted) == (True, False)
    assert (before.exit_code, after.exit_code) == (1, 0)


def test_an_unknown_mode_is_refused(tmp_path: Path) -> None:
    spec = FitSpec(Problem(len, len, len, len), None, seed=0)
    about = {"experiment": "e", "method": "m"}
    with pytest.raises(ValueError, match=r"logger\.mode='loud' is not one of auto, online"):
        dashboards.wandb_runs("fit-0", spec, tmp_path, about, {}, "runs", mode="loud")  # type: ignore[arg-type]
