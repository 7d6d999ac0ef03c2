"""A disk without space, at whatever moment: one line each time, and in the end the same results."""

from __future__ import annotations

import contextlib
import errno
import itertools
import os
import resource
from pathlib import Path

import pytest

from sparsekit.report.compare import differences
from sparsekit.run import main
from sparsekit.store.store import Store
from tests.conftest import TINY
from tests.system.processes import ended, forked

RUN = (*TINY, "method=imp_average", "sparsity=0.5", "method.cycles=1", "runtime.threads=1")
REFUSALS = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO)


def run(store: Path) -> int:
    return main([*RUN, "runtime.checkpoint_seconds=0", f"runtime.store={store}"])


class Disk:
    """Refuses the `allowed`-th request to write down a file, and all after that."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.allowed = 0
        self.fsync = os.fsync
        self.number = errno.ENOSPC
        monkeypatch.setattr(os, "fsync", self.ask)

    def ask(self, descriptor: int) -> None:
        self.allowed -= 1
        if self.allowed < 0:
            raise OSError(self.number, os.strerror(self.number))
        self.fsync(descriptor)


def test_it_may_be_full_at_any_moment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    disk = Disk(monkeypatch)
    for allowed in itertools.count():
        disk.allowed, disk.number = 3 * allowed, REFUSALS[allowed % len(REFUSALS)]
        status = run(tmp_path / "troubled")
        said = capsys.readouterr()
        if status == 0:
            break
        assert status == 1
        assert "Traceback" not in said.err
        assert "the same command goes on" in said.err
    assert allowed > 3
    assert not list((tmp_path / "troubled" / "named").rglob(".*"))
    disk.allowed = 1000
    assert run(tmp_path / "calm") == 0
    assert not differences(Store(tmp_path / "calm"), Store(tmp_path / "troubled"))


def test_files_that_may_not_grow(tmp_path: Path) -> None:
    def limited() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))
        with (tmp_path / "log").open("w") as log, contextlib.redirect_stderr(log):
            status = run(tmp_path / "runs")
        os._exit(status)

    assert ended(forked(limited)) == 1
    log = (tmp_path / "log").read_text()
    assert "failed: the limit on the size of a file is reached (ulimit -f): " in log
    assert "Traceback" not in log
