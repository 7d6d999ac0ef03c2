"""What the process that talks to wandb makes of what it hears, with a wandb that only notes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from sparsekit.mirror import child
from sparsekit.mirror.rows import fit_row
from sparsekit.mirror.told import Told


class Noted:
    """Stands in for wandb and its run: notes what is called, refuses to begin `online`."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, Any]] = []
        self.summary: dict[str, Any] = {}
        self.step = 0

    Settings = dict

    def init(self, *, mode: str, **opening: Any) -> Noted:
        self.calls.append(("init", mode))
        if mode == "online":
            raise ConnectionError("nobody answers")
        return self

    def teardown(self) -> None:
        self.calls.append(("teardown", None))

    def define_metric(self, name: str, **settings: Any) -> None: ...

    def log(self, row: dict[str, Any], step: int, commit: bool) -> None:
        self.calls.append(("log", (step, row["row"])))

    def mark_preempting(self) -> None:
        self.calls.append(("preempting", None))

    def finish(self, exit_code: int) -> None:
        self.calls.append(("finish", exit_code))


def opening(root: Path, mode: str = "offline") -> dict[str, Any]:
    return {"id": "imp-seed0", "dir": str(root), "mode": mode, "seconds_to_connect": 1.0}


@pytest.fixture
def noted() -> Noted:
    return Noted()


def test_where_wandb_cannot_be_reached_it_goes_on_offline(
    tmp_path: Path, noted: Noted, capsys: pytest.CaptureFixture[str]
) -> None:
    teller = child.Teller(noted)
    teller.hear("open", opening(tmp_path, "online"))
    teller.hear("close", {"state": "done"})
    told = [name for name, _ in noted.calls]
    assert told == ["init", "teardown", "init", "finish"]
    assert noted.calls[2] == ("init", "offline")
    assert "nobody answers; it goes on offline" in capsys.readouterr().err
    teller.hear("open", opening(tmp_path, "online"))
    assert noted.calls[4:] == [("init", "offline")], "it is not waited for again"


def test_epochs_are_told_as_they_are_written_and_once(tmp_path: Path, noted: Noted) -> None:
    teller = child.Teller(noted)
    teller.hear("open", opening(tmp_path))
    teller.hear("fits", {"cycle": 2, "keys": ["fit-a", "fit-b"]})
    live = tmp_path / "wandb" / "live" / "imp-seed0"
    live.mkdir(parents=True)
    rows = [json.dumps({"epoch": epoch, "step": 10 * epoch, "val_loss": 1.0}) for epoch in (1, 2)]
    file = live / "fit-b.jsonl"
    file.write_text(f"{rows[0]}\n{rows[1][:9]}")  # as far as it is written
    teller.look()
    assert noted.calls[1:] == [("log", (0, "fit-b/c2p1/s10"))]
    # Who goes on with a fit writes from the beginning again.
    file.write_text(f"{rows[0]}\n{rows[1]}\n{rows[0]}\n{rows[1]}\n")
    teller.hear("close", {"state": "interrupted"})
    assert noted.calls[2:] == [("log", (1, "fit-b/c2p1/s20")), ("preempting", None), ("finish", 1)]
    assert file.exists()


def test_a_run_that_was_told_to_its_end_is_not_opened_again(
    tmp_path: Path, noted: Noted, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(child, "read_told", lambda *_: Told(next_step=7, is_finished=True))
    teller = child.Teller(noted)
    teller.hear("open", opening(tmp_path))
    teller.hear("close", {"state": "done"})
    assert noted.calls == []
    teller.hear("open", opening(tmp_path))
    teller.tell(fit_row("fit-new", 0, 0, {"step": 5, "epoch": 1.0}))
    assert noted.calls == [("init", "offline"), ("log", (7, "fit-new/c0p0/s5"))]


def test_an_input_that_ends_without_a_word_is_a_run_that_was_lost() -> None:
    first, last = (json.loads(line or "null") for line in child._with_pauses(['["open", {}]']))
    assert (first, last) == (["open", {}], ["close", {"state": "lost"}])


def test_what_fails_is_said_and_the_rest_goes_on(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    noted = Noted()
    monkeypatch.setitem(child.sys.modules, "wandb", noted)  # type: ignore[arg-type]
    monkeypatch.setattr(child.os, "nice", lambda by: by)
    monkeypatch.setattr(child.signal, "pthread_sigmask", lambda *_: None)
    row = {"cycle": 0, "ticket": "ticket-0", "sparsity": 0.5, "is_result": True}
    lines = [["open", opening(tmp_path)], ["cycle", row], ["close", {"state": "done"}]]
    assert child.main(json.dumps(line) for line in lines) == 0
    assert "FileNotFoundError: ticket-0 is not in the store" in capsys.readouterr().err
    assert [name for name, _ in noted.calls] == ["init", "finish"]
