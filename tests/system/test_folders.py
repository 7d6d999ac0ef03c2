"""Folders that are nested more deeply than functions may call themselves, and links in them."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from sparsekit.system.folders import remove_tree, walked


def nested(top: Path, levels: int = 2 * sys.getrecursionlimit()) -> Path:
    """Nest folders, whatever the longest path is that may be named."""
    top.mkdir(parents=True, exist_ok=True)
    here = os.open(top, os.O_RDONLY)
    for _ in range(levels):
        os.mkdir("a", dir_fd=here)
        below = os.open("a", os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = below
    os.close(here)
    return top


@pytest.fixture
def top(tmp_path: Path) -> Iterator[Path]:
    """A folder that is removed whatever happens, for pytest could not."""
    yield nested(tmp_path / "top")
    subprocess.run(["rm", "-rf", tmp_path / "top"], check=True)


def test_deep_folders_are_gone_through_and_removed(top: Path) -> None:
    (top / "file").touch()
    assert len(list(walked(top))) > sys.getrecursionlimit()
    remove_tree(top)
    assert not top.exists()


def test_links_are_neither_followed_nor_is_what_they_lead_to_removed(
    top: Path, tmp_path: Path
) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "precious").touch()
    (top / "a" / "link").symlink_to(outside)
    assert all("precious" not in names for _, _, names in walked(top))
    remove_tree(top)
    assert not top.exists()
    assert os.listdir(outside) == ["precious"]


def test_folders_that_are_taken_out_are_not_entered(tmp_path: Path) -> None:
    for name in ("a/b", "c/d"):
        (tmp_path / name).mkdir(parents=True)
    places = []
    for place, folders, _ in walked(tmp_path):
        places.append(Path(place).name)
        folders[:] = [name for name in folders if name != "c"]
    assert places == [tmp_path.name, "a", "b"]


def test_folders_that_may_not_be_listed_are_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "private").mkdir()
    scandir = os.scandir

    def refuse(path: str) -> object:
        if path.endswith("private"):
            raise PermissionError(13, "Permission denied", path)
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)
    told: list[PermissionError] = []
    assert len(list(walked(tmp_path, refused=told.append))) == 2
    assert [error.filename for error in told] == [str(tmp_path / "private")]
