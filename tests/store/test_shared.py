"""Claims and results of a store that several users write to."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from sparsekit.store.claims import claim, is_held
from sparsekit.store.identity import Stage
from sparsekit.store.place import settle
from sparsekit.store.signatures import signature
from sparsekit.store.store import Store
from sparsekit.system.refusals import refusal_in
from tests.sharing import ALICE, BOB, NAMES, begun_as, done_as, group_folder, needs_root
from tests.system.processes import ended, wait_for
from tests.waiting import PATIENCE

STAGE = Stage("fit", {"epochs": 1})
NEVER = 10 * PATIENCE

shared = pytest.fixture(group_folder, name="shared")


def write(folder: Path) -> None:
    (folder / "result.json").write_text(f'{{"by": {os.getuid()}}}')


def stuck(folder: Path) -> None:
    (folder / "scratch" / "last.ckpt").write_text("step 7")
    (folder.parent.parent.parent / "saved").touch()
    time.sleep(PATIENCE)


def taken(store: Path) -> Callable[[], object]:
    def ask() -> None:
        assert claim(store / "work", STAGE.key, stale_after=NEVER) is not None

    return ask


def refused(store: Path) -> Callable[[], object]:
    """Prints why work cannot be claimed."""

    def ask() -> None:
        with pytest.raises(PermissionError) as caught:
            claim(store / "work", STAGE.key, stale_after=NEVER)
        print(refusal_in(caught.value), flush=True)

    return ask


@needs_root
def test_what_one_computed_another_reads_and_what_one_left_another_takes_up(shared: Path) -> None:
    store = Store(shared, stale_after=NEVER)
    owner = begun_as(ALICE, lambda: store.ensure(STAGE, stuck))
    wait_for(shared / "saved")
    (held,) = (shared / "work" / STAGE.key).iterdir()
    assert signature(held)["user"] == NAMES[ALICE]

    def look() -> None:
        assert is_held(store.root / "work", STAGE.key, stale_after=NEVER)

    assert done_as(BOB, look) == 0
    os.kill(owner, signal.SIGKILL)
    assert ended(owner) == -signal.SIGKILL

    def go_on(folder: Path) -> None:
        assert (folder / "scratch" / "last.ckpt").read_text() == "step 7"
        write(folder)

    assert done_as(BOB, lambda: store.ensure(STAGE, go_on)) == 0
    assert store.read(STAGE.key, "result.json") == {"by": BOB}

    def read() -> None:
        assert store.ensure(STAGE, stuck) == STAGE.key

    assert done_as(ALICE, read) == 0


@needs_root
@pytest.mark.parametrize("umask", [0o022, 0o077])
def test_work_that_another_keeps_to_himself_is_an_error_and_not_waited_for(
    shared: Path, umask: int, capfd: pytest.CaptureFixture[str]
) -> None:
    (shared / "work").mkdir()
    os.chown(shared / "work", ALICE, -1)
    (shared / "work").chmod(0o2775)
    assert done_as(ALICE, taken(shared), umask=umask) == 0
    assert done_as(BOB, refused(shared)) == 0
    told = capfd.readouterr().out
    assert told.startswith("permission denied: ")
    assert f"belongs to {ALICE}" in told
    assert f"{NAMES[BOB]} may not use it" in told
    assert "umask 002" in told


@needs_root
def test_in_a_sticky_folder_the_work_of_another_cannot_be_taken_up(
    shared: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert done_as(ALICE, taken(shared)) == 0
    (shared / "work" / STAGE.key).chmod(0o3775)
    assert done_as(BOB, refused(shared)) == 0
    assert "where only owners replace what is theirs" in capfd.readouterr().out


def test_work_that_may_not_be_looked_at_is_taken_for_held_and_cannot_be_claimed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """For whoever is not root, too."""
    place = tmp_path / "work" / STAGE.key
    place.mkdir(parents=True)
    listdir = os.listdir

    def refuse(path: Path) -> list[str]:
        if path == place:
            raise PermissionError(13, "Permission denied", str(path))
        return listdir(path)

    monkeypatch.setattr(os, "listdir", refuse)
    assert is_held(tmp_path / "work", STAGE.key, stale_after=NEVER)
    with pytest.raises(PermissionError):
        claim(tmp_path / "work", STAGE.key, stale_after=NEVER)


@pytest.fixture
def settled(tmp_path: Path) -> Path:
    (tmp_path / "runs" / "work").mkdir(parents=True)
    settle(tmp_path / "runs")
    return tmp_path / "runs"


def test_a_claim_of_a_living_process_that_was_made_in_another_store_is_free(settled: Path) -> None:
    folder = claim(settled / "work", STAGE.key, stale_after=NEVER)
    assert folder is not None
    assert claim(settled / "work", STAGE.key, stale_after=NEVER) is None
    other = settled.rename(settled.with_name("copy"))
    (other / "store.json").unlink()
    settle(other)
    assert not is_held(other / "work", STAGE.key, stale_after=NEVER)
    again = claim(other / "work", STAGE.key, stale_after=NEVER)
    assert again is not None
    assert signature(again)["owner"] == again.name


def test_a_claim_of_another_machine_is_believed_whatever_store_it_names(settled: Path) -> None:
    """That store may be this one: another machine may see another id for a moment."""
    folder = claim(settled / "work", STAGE.key, stale_after=NEVER)
    assert folder is not None
    folder.rename(folder.with_name("0123456789ab" + folder.name[12:]))
    (settled / "store.json").unlink()
    settle(settled)
    assert is_held(settled / "work", STAGE.key, stale_after=NEVER)
