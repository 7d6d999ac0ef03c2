"""The same runs are one sweep, whoever asks; what each asked for stays."""

from __future__ import annotations

import io
import json
import os
from pathlib import Path
from typing import Any

import pytest

from sparsekit.sweeps.freezing import freeze
from sparsekit.sweeps.records import Sweep, list_sweeps
from sparsekit.system import files
from sparsekit.system.files import Hidden
from tests.sweeps.asked import asked_for

RUN = {"config": {"runtime": {"data": "/data"}}}
ALICE, BOB = 1001, 1002


def content(user: str, command: str) -> dict[str, Any]:
    return asked_for(RUN, user=user, command=command)


@pytest.fixture
def user(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Whose process this is, by number."""
    uid = [ALICE]
    monkeypatch.setattr(os, "geteuid", lambda: uid[0])
    return uid


def test_a_second_user_changes_nothing_of_what_the_first_asked_for(
    tmp_path: Path, user: list[int]
) -> None:
    sweep = freeze(tmp_path, "custom", content("alice", "first"))
    first = (sweep.folder / "sweep.json").read_bytes()
    user[0] = BOB
    again = freeze(tmp_path, "custom", content("bob", "second"))
    assert again.folder == sweep.folder
    assert (sweep.folder / "sweep.json").read_bytes() == first
    assert (again.frozen["command"], again.frozen["user"]) == ("second", "alice")
    assert [one.name for one in list_sweeps(tmp_path)] == [sweep.name]
    user[0] = ALICE
    assert Sweep(sweep.folder).frozen["command"] == "first"
    assert freeze(tmp_path, "custom", content("alice", "third")).frozen["command"] == "third"
    user[0] = BOB
    assert Sweep(sweep.folder).frozen["command"] == "second"


@pytest.mark.parametrize("damage", ["", "{", "[]", "{}"])
def test_what_is_damaged_is_written_again_by_whoever_asks(
    damage: str, tmp_path: Path, user: list[int]
) -> None:
    sweep = freeze(tmp_path, "custom", content("alice", "first"))
    user[0] = BOB
    freeze(tmp_path, "custom", content("bob", "second"))
    (sweep.folder / "sweep.json").write_text(damage)
    again = freeze(tmp_path, "custom", content("bob", "third"))
    assert (again.frozen["command"], again.frozen["user"]) == ("third", "bob")
    assert json.loads((sweep.folder / "sweep.json").read_text())["command"] == "third"


def test_what_a_second_user_may_not_read_is_not_replaced(
    tmp_path: Path, user: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It may be whole, and it is not theirs."""
    sweep = freeze(tmp_path, "custom", content("alice", "first"))
    first = (sweep.folder / "sweep.json").read_bytes()
    user[0] = BOB

    def refuse(path: Path) -> io.BufferedReader:
        raise PermissionError(13, "Permission denied", str(path))

    with monkeypatch.context() as patch:
        patch.setattr(files, "open_regular", refuse)
        with pytest.raises(Hidden, match="cannot be read: Permission denied"):
            freeze(tmp_path, "custom", content("bob", "second"))
    assert (sweep.folder / "sweep.json").read_bytes() == first
    assert not (tmp_path / "corrupt").exists()


def test_runs_are_for_the_store_in_which_the_sweep_lies(tmp_path: Path, user: list[int]) -> None:
    sweep = freeze(tmp_path / "runs", "custom", content("alice", "first"))
    moved = (tmp_path / "runs").rename(tmp_path / "moved")
    (again,) = list_sweeps(moved)
    assert again.name == sweep.name
    runtime = again.runs[0]["config"]["runtime"]
    assert runtime == {"data": "/data", "store": str(moved)}
