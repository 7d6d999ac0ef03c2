"""The process that talks to wandb, started and fed from here, and never waited for.

A thread feeds it. However slow, broken or absent wandb is, whoever tells something only ever puts a
small record into a queue.
"""

from __future__ import annotations

import contextlib
import functools
import json
import multiprocessing.util
import os
import queue
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

COMMAND = (sys.executable, "-m", "sparsekit.mirror.child")
KEPT_IN = {
    "WANDB_CACHE_DIR": "cache",
    "WANDB_DATA_DIR": "staging",
    "WANDB_ARTIFACT_DIR": "artifacts",
}
"""Where wandb keeps what it would put into the home folder, whose quota is small."""


class Child:
    """The process that talks to wandb, and the thread that feeds it lines."""

    def __init__(self, folder: Path, patience: float) -> None:
        self.patience = patience
        self.lines: queue.SimpleQueue[str | None] = queue.SimpleQueue()
        self.process = _started(folder)
        self.thread = threading.Thread(target=self._feed, daemon=True, name="sparsekit-wandb")
        self.thread.start()
        # As atexit, but also at the end of worker processes, which leave without it.
        multiprocessing.util.Finalize(None, self.finish, exitpriority=10)

    def tell(self, what: str, content: Mapping[str, Any]) -> None:
        """Queue a record; returns at once."""
        if self.process is not None:
            self.lines.put(json.dumps([what, content]))

    def finish(self) -> None:
        """Let the child finish, for at most `patience` seconds."""
        if self.process is None:
            return
        self.lines.put(None)
        deadline = time.monotonic() + self.patience
        self.thread.join(self.patience)
        try:
            self.process.wait(max(0.1, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
            _warn(f"wandb did not finish within {self.patience:g} s; results are in the store")

    def _feed(self) -> None:
        if self.process is None or self.process.stdin is None:
            return
        try:
            while (line := self.lines.get()) is not None:
                self.process.stdin.write(line + "\n")
                self.process.stdin.flush()
            self.process.stdin.close()
        except OSError:
            _warn("the wandb process ended early; results are in the store")


@functools.cache
def child_of(folder: str, patience: float) -> Child:
    """Return the one child of this process for a store's folder of wandb."""
    return Child(Path(folder), patience)


def surroundings(folder: Path) -> dict[str, str]:
    """Return the environment of a process of wandb that leaves nothing outside of `folder`."""
    places = {name: str(folder / place) for name, place in KEPT_IN.items()}
    return {**places, **os.environ, "WANDB_SILENT": "true"}


def _started(folder: Path) -> subprocess.Popen[str] | None:
    try:
        # Its own session: an interrupt or a signal meant for the training is not meant for it.
        return subprocess.Popen(
            COMMAND,
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            env=surroundings(folder),
            start_new_session=True,
            text=True,
        )
    except OSError as error:
        _warn(f"wandb cannot be started: {error}; results are in the store")
        return None


def _warn(text: str) -> None:
    print(f"warning: {text}", file=sys.stderr, flush=True)
