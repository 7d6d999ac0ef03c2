"""What is renamed into place was on the disk before: a power cut leaves the old file or the new."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from sparsekit.data.decode import decoded
from sparsekit.data.folders import list_images
from sparsekit.run import main
from sparsekit.store.claims import HEARTBEAT
from sparsekit.store.store import SCRATCH
from sparsekit.sweeps.snapshot import take_snapshot
from tests.conftest import TINY


@pytest.fixture
def renamed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names that files and folders were given, each looked at before; fails for what is only in
    memory. Claims are no content: whoever made one ends with the power."""
    synced: set[tuple[int, int]] = set()
    found: list[str] = []
    fsync, rename, replace = os.fsync, os.rename, os.replace

    def identity(status: os.stat_result) -> tuple[int, int]:
        return status.st_dev, status.st_ino

    def synchronised(descriptor: int) -> None:
        synced.add(identity(os.fstat(descriptor)))
        fsync(descriptor)

    def looked_at(act: Callable[..., None]) -> Callable[..., None]:
        def moved(old: Any, new: Any, **settings: Any) -> None:
            if Path(new).is_relative_to(tmp_path):
                files = [Path(old)] if Path(old).is_file() else Path(old).rglob("*")
                for path in files:
                    status, is_content = path.lstat(), HEARTBEAT not in path.name
                    if stat.S_ISREG(status.st_mode) and is_content and status.st_size:
                        assert identity(status) in synced, f"{path} as {new}"
                found.append(Path(new).name)
            act(old, new, **settings)

        return moved

    monkeypatch.setattr(os, "fsync", synchronised)
    monkeypatch.setattr(os, "rename", looked_at(rename))
    monkeypatch.setattr(os, "replace", looked_at(replace))
    return found


def test_all_that_a_run_leaves(renamed: list[str], tmp_path: Path) -> None:
    asked = ("method=one_shot", "seed=0", "runtime.checkpoint_seconds=0")
    assert main([*TINY, *asked, f"runtime.store={tmp_path / 'runs'}"]) == 0
    assert {"last.ckpt", "sweep.json", "0000.json", "description.json"} <= set(renamed)
    assert any(name.startswith("fit-") for name in renamed)


def test_checkpoints_that_the_next_owner_keeps(renamed: list[str], tmp_path: Path) -> None:
    from sparsekit.store.identity import Stage
    from sparsekit.store.store import Store
    from sparsekit.training.checkpoint_files import write_checkpoint

    store = Store(tmp_path)

    def leave(folder: Path) -> None:
        write_checkpoint(folder / SCRATCH / "last.ckpt", {"step": 3})
        raise KeyboardInterrupt

    for _ in range(2):
        renamed.clear()
        with pytest.raises(KeyboardInterrupt):
            store.ensure(Stage("fit", {}), leave)
    assert "last.ckpt" in renamed


def test_snapshots_and_caches(
    renamed: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "project").mkdir()
    (tmp_path / "project" / "mine.py").write_text("WHAT = 'mine'")
    monkeypatch.chdir(tmp_path / "project")
    snapshot = take_snapshot(tmp_path / "code", store=tmp_path / "runs")
    assert snapshot.name in renamed
    (tmp_path / "pets" / "train" / "cat").mkdir(parents=True)
    Image.new("RGB", (8, 8)).save(tmp_path / "pets" / "train" / "cat" / "a.png")
    decoded(list_images(tmp_path / "pets" / "train"))
    assert any(name.endswith(".npy") for name in renamed)
