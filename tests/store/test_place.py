"""A store knows itself wherever it is, and a copy knows that it is one."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from sparsekit.store.place import STORE, id_around, id_of, original_of, settle


@pytest.fixture
def store(tmp_path: Path) -> Path:
    root = tmp_path / "runs"
    (root / "work").mkdir(parents=True)
    settle(root)
    return root


def copied(store: Path, name: str = "backup") -> Path:
    return shutil.copytree(store, store.with_name(name), symlinks=True)


def test_a_store_keeps_its_id(store: Path) -> None:
    before = (store / STORE).read_bytes()
    settle(store)
    assert (store / STORE).read_bytes() == before
    assert original_of(store) is None
    assert id_around(store / "work" / "fit-1" / "owner") == id_of(store) is not None
    assert id_around(store.parent) is None
    assert [path.name for path in store.iterdir() if path.is_file()] == [STORE]


def test_a_copy_says_of_what(store: Path) -> None:
    backup = copied(store)
    assert original_of(backup) == str(store)
    assert original_of(store) is None
    assert id_of(backup) == id_of(store)
    settle(backup)
    assert original_of(backup) is None
    assert id_of(backup) != id_of(store)


def test_a_copy_whose_original_is_gone_is_still_one(store: Path) -> None:
    backup = copied(store)
    shutil.rmtree(store)
    assert original_of(backup) == str(store)


def test_copies_made_of_hard_links(store: Path) -> None:
    backup = shutil.copytree(store, store.with_name("backup"), copy_function=os.link)
    assert original_of(backup) == str(store)
    store.rename(store.with_name("moved"))
    assert original_of(backup) == str(store)
    assert original_of(store.with_name("moved")) is None


def test_a_store_that_was_moved_is_the_same(store: Path) -> None:
    identity = id_of(store)
    moved = store.rename(store.with_name("moved"))
    assert original_of(moved) is None
    settle(moved)
    assert id_of(moved) == identity
    # What is put in its old place later is another store, and what is copied there a copy.
    assert original_of(copied(moved, "runs")) == str(moved)


def test_another_store_in_the_old_place(store: Path) -> None:
    moved = store.rename(store.with_name("moved"))
    store.mkdir()
    settle(store)
    assert original_of(moved) is None
    assert id_of(moved) != id_of(store)


def test_links_lead_to_the_same_store(store: Path) -> None:
    link = store.with_name("link")
    link.symlink_to(store)
    assert original_of(link) is None
    settle(link)
    assert json.loads((store / STORE).read_text())["path"] == str(store)
    moved = store.rename(store.with_name("larger-disk"))
    store.symlink_to(moved)
    assert original_of(store) is original_of(moved) is None


def test_a_link_that_leads_to_a_copy_now(store: Path) -> None:
    link = store.with_name("link")
    link.symlink_to(copied(store))
    assert original_of(link) == str(store)


def test_a_copy_in_place_of_the_original_takes_it(store: Path) -> None:
    """As after a backup was put back: jobs and processes go by the path."""
    backup = copied(store)
    aside = store.rename(store.with_name("aside"))
    backup.rename(store)
    assert original_of(store) is None
    assert original_of(aside) == str(store)


ID = "0123456789abcdef" * 2
ODD = [
    {"id": ID, "path": "/x\0", "inodes": []},
    {"id": ID, "path": "x", "inodes": []},
    {"id": ID, "path": "/x", "inodes": [10**100]},
    {"id": "\x1b[2J", "path": "/x", "inodes": []},
    {"id": "a" * 2**16, "path": "/x", "inodes": []},
]


@pytest.mark.parametrize("text", ["", "{", "[]", '{"id": 1}', *map(json.dumps, ODD)])
def test_what_makes_no_sense_is_no_id(store: Path, text: str) -> None:
    (store / STORE).write_text(text)
    assert id_of(store) is original_of(store) is None
    settle(store)
    assert id_of(store) is not None


def test_a_folder_that_may_not_be_written_keeps_what_it_says(
    store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    identity = id_of(store)
    moved = store.rename(store.with_name("moved"))

    def refuse(*_: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "replace", refuse)
    settle(moved)
    assert id_of(moved) == identity


@pytest.mark.parametrize("make", [os.mkfifo, lambda path: path.symlink_to("/dev/zero")])
def test_what_is_no_file_is_replaced(store: Path, make: Callable[[Path], None]) -> None:
    (store / STORE).unlink()
    make(store / STORE)
    assert id_of(store) is None
    settle(store)
    assert id_of(store) is not None
