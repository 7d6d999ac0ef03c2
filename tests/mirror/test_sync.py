"""Uploading what was told offline, with a command that stands in for wandb's."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from sparsekit import sync as command
from sparsekit.mirror import syncing

# Marks what it was given up to the first that it cannot read, and ends well all the same.
STAND_IN = """
import pathlib, sys
with open(NOTES, "a") as notes: print(*sys.argv[1:], file=notes)
for folder in map(pathlib.Path, sys.argv[3:]):
    (file,) = folder.glob("*.wandb")
    if b"unreadable" in file.read_bytes(): sys.exit(print("no record in", folder.name))
    file.with_suffix(".wandb.synced").touch()
"""


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    code = STAND_IN.replace("NOTES", repr(str(tmp_path / "notes")))
    monkeypatch.setattr(syncing, "COMMAND", (sys.executable, "-c", code))
    monkeypatch.setattr(command, "has_key", lambda: True)
    (tmp_path / "runs" / "wandb").mkdir(parents=True)
    return tmp_path / "runs"


def told(store: Path, name: str, content: str = "") -> Path:
    folder = store / "wandb" / name
    folder.mkdir()
    (folder / f"run-{name[name.index('run-') + 20 :]}.wandb").write_text(content)
    return folder


def given(store: Path) -> list[list[str]]:
    """The folders that each call of wandb was given, by name."""
    notes = store.parent / "notes"
    lines = notes.read_text().splitlines() if notes.exists() else []
    return [[Path(one).name for one in line.split() if "run-2026" in one] for line in lines]


LATER = "offline-run-20260102_000000-imp-seed0"
EARLIER = "offline-run-20260101_000000-imp-seed0"
ONLINE = "run-20260101_120000-imp-seed0"
OTHER = "offline-run-20260103_000000-dense-seed1"


def test_attempts_are_uploaded_in_order_and_once(
    store: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in (LATER, EARLIER, ONLINE, OTHER):
        told(store, name)
    (store / "wandb" / "latest-run").symlink_to(store / "wandb" / LATER)
    assert command.main([str(store), "--dry-run"]) == 0
    assert given(store) == []
    assert command.main([str(store)]) == 0
    assert given(store) == [[EARLIER, ONLINE, LATER, OTHER]]
    assert "imp-seed0: uploaded, 3 attempts\n" in capsys.readouterr().out
    assert command.main([str(store)]) == 0
    assert len(given(store)) == 1
    # What has grown since is uploaded again.
    mark = store / "wandb" / OTHER / "run-dense-seed1.wandb.synced"
    os.utime(mark, (0, 0))
    assert command.main([str(store)]) == 0
    assert given(store)[1:] == [[OTHER]]


def test_what_cannot_be_read_holds_nothing_else_up(
    store: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    damaged = told(store, EARLIER, "unreadable")
    told(store, OTHER)
    assert command.main([str(store)]) == 1
    assert given(store) == [[EARLIER, OTHER], [EARLIER], [OTHER]]
    out = capsys.readouterr().out
    assert f"imp-seed0: NOT uploaded: no record in {EARLIER}\n" in out
    assert "dense-seed1: uploaded\n" in out
    assert damaged.is_dir()
    assert command.main([str(store)]) == 1, "it is tried again"


def test_who_does_not_answer_is_not_waited_for(
    store: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    told(store, OTHER)
    monkeypatch.setattr(syncing, "COMMAND", (sys.executable, "-c", "import time; time.sleep(99)"))
    assert command.main([str(store), "--seconds", "0.2"]) == 1
    assert "not done after 0.2 s: no answer from https://api.wandb.ai?" in capsys.readouterr().out


def test_a_run_that_somebody_works_at_is_left_for_the_next_time(
    store: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """wandb would mark it as a run that has failed, and what comes later would stay behind."""
    told(store, LATER.replace("seed0", "seed0-custom"))
    told(store, OTHER)
    member = {"experiment": "custom", "name": "imp-seed0"}
    sweep = SimpleNamespace(runs=[member], claims=store / "claims", stale_after=60.0)
    monkeypatch.setattr(command, "list_sweeps", lambda root: [sweep])
    monkeypatch.setattr(command, "is_held", lambda claims, member, stale_after: member == "0000")
    assert command.main([str(store)]) == 0
    assert given(store) == [[OTHER]]
    assert "imp-seed0-custom: under way; the next time\n" in capsys.readouterr().out


def test_mistakes_are_said(
    store: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert command.main([str(store / "wandb")]) == 2
    assert "neither a store with a folder wandb/ nor a sweep of one" in capsys.readouterr().err
    monkeypatch.setattr(command, "has_key", lambda: False)
    assert command.main([str(store)]) == 2
    assert "type `wandb login`, or set WANDB_API_KEY" in capsys.readouterr().err
