"""Small sweeps that run, fail, are killed; and what `python -m sparsekit.status` says of them."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from sparsekit import run
from sparsekit.status.__main__ import main
from sparsekit.sweeps.records import Sweep, list_sweeps
from sparsekit.system import interruption
from tests.conftest import TINY
from tests.waiting import PATIENCE
from tests.warm import Forked

ROOT = Path(__file__).parents[2]


@dataclasses.dataclass(frozen=True)
class Asked:
    """A sweep in a store of its own; files decide how far its runs come, and whether they fail."""

    folder: Path
    runs: tuple[str, ...] = ("method=dense", "seed=0,1")
    name: str = "runs"

    @property
    def store(self) -> Path:
        return self.folder / self.name

    @property
    def sweep(self) -> Sweep:
        (sweep,) = list_sweeps(self.store)
        return sweep

    def typed(self, *more: str) -> list[str]:
        leaf = f"{{_target_:tests.status.pacing.rate,peak:0.1,folder:'{self.folder}'}}"
        where = [
            f"runtime.store={self.store}",
            "runtime.threads=1",
            "runtime.checkpoint_seconds=0.2",
        ]
        return ["-m", *TINY, *self.runs, f"train.schedule={leaf}", *where, *more]

    def here(self, *more: str) -> int:
        """Run it in this process, to its end; the exit status."""
        try:
            return run.main(self.typed("cluster=inline", *more))
        finally:
            interruption.forget()

    @contextlib.contextmanager
    def elsewhere(self, *more: str) -> Iterator[subprocess.Popen[str]]:
        """Run it in another process, which is ended with the block."""
        process = started(["sparsekit.run", *self.typed(*more)])
        try:
            yield process
        finally:
            self.release()
            process.send_signal(signal.SIGTERM)
            process.communicate(timeout=PATIENCE)

    def hold(self) -> None:
        """Let runs wait in their first fit, until they are released or asked to end."""
        (self.folder / "held").touch()

    def release(self) -> None:
        (self.folder / "held").unlink(missing_ok=True)

    def has_begun(self, *members: str) -> bool:
        """Have these members said that they are in a fit?"""
        return all(any(self.store.glob(f"sweeps/*/progress/{one}.json")) for one in members)

    def fail(self, fails: bool) -> None:
        file = self.folder / "fail"
        file.touch() if fails else file.unlink()

    def seen(self) -> dict[str, Any]:
        """What `status --json` says of it, in a process of its own."""
        process = started(["sparsekit.status", "--json", "--store", str(self.store)])
        printed, errors = process.communicate(timeout=PATIENCE)
        assert process.returncode == 0, errors
        view: dict[str, Any] = json.loads(printed)
        return view

    def states(self) -> list[str]:
        return [one["state"] for one in self.seen()["runs"]]


@dataclasses.dataclass(frozen=True)
class Answer:
    """Exit status, and what was printed."""

    status: int
    out: str
    err: str


def status(capsys: pytest.CaptureFixture[str], store: Path, *arguments: str) -> Answer:
    """`python -m sparsekit.status ARGUMENTS --store STORE`, in this process, and what it starts in
    forks of it."""
    capsys.readouterr()
    try:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(subprocess, "Popen", Forked)
            code = main([*arguments, "--store", str(store)])
    except SystemExit as left:
        code = int(str(left.code))
    finally:
        interruption.forget()
    return Answer(code, *capsys.readouterr())


def started(module: Sequence[str], **environment: str) -> subprocess.Popen[str]:
    """`python -m MODULE ARGUMENTS`, begun, without the seconds that its imports would take."""
    surroundings = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", **environment}
    return Forked(
        [sys.executable, "-m", *module], cwd=ROOT, env=surroundings, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
