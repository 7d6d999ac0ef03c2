"""A seal is this user's, of this text; where there can be no key there is none."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from sparsekit.system import seals


@pytest.fixture(autouse=True)
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    return tmp_path


def key_of(state: Path) -> Path:
    (key,) = (state / "sparsekit").iterdir()
    return key


def test_only_the_same_text_has_the_seal(state: Path) -> None:
    found = seals.seal("a sweep")
    assert found is not None
    assert seals.is_sealed("a sweep", found)
    assert seals.seal("a sweep") == found
    for text, claimed in (("A sweep", found), ("a sweep", None), ("a sweep", 7), ("a sweep", "é")):
        assert not seals.is_sealed(text, claimed)
    assert key_of(state).stat().st_mode & 0o777 == 0o600


def test_another_key_makes_another_seal(state: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = seals.seal("a sweep")
    monkeypatch.setenv("XDG_STATE_HOME", str(state / "other"))
    assert seals.seal("a sweep") not in (None, found)
    assert not seals.is_sealed("a sweep", found)


def open_to_all(key: Path) -> None:
    key.chmod(0o644)


def cut(key: Path) -> None:
    os.truncate(key, 5)


def link(key: Path) -> None:
    key.rename(key.with_name("real"))
    key.symlink_to(key.with_name("real"))


def pipe(key: Path) -> None:
    key.unlink()
    os.mkfifo(key, 0o600)


@pytest.mark.parametrize("spoil", [open_to_all, cut, link, pipe])
def test_a_key_that_others_may_know_is_none(spoil: Callable[[Path], None], state: Path) -> None:
    found = seals.seal("a sweep")
    spoil(key_of(state))
    assert not seals.is_sealed("a sweep", found)
    assert seals.seal("a sweep") is None


def test_without_a_home_nothing_is_sealed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", "/proc/nowhere")
    assert seals.seal("a sweep") is None
    assert not seals.is_sealed("a sweep", None)


def test_processes_that_begin_at_once_agree_on_a_key(state: Path) -> None:
    with ThreadPoolExecutor(8) as pool:
        made = set(pool.map(seals.seal, ["a sweep"] * 8))
    assert len(made) == 1
    assert len(list((state / "sparsekit").iterdir())) == 1


def test_a_home_without_hard_links_has_a_key(state: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def link(*_: object) -> None:
        raise PermissionError(errno.EPERM, os.strerror(errno.EPERM))

    monkeypatch.setattr(os, "link", link)
    found = seals.seal("a sweep")
    assert found is not None
    assert seals.is_sealed("a sweep", found)
    assert key_of(state).stat().st_mode & 0o777 == 0o600
