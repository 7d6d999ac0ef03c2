"""Other processes for tests of the store: forked, so that they start in a millisecond."""

from __future__ import annotations

import os
import signal
import time
import traceback
from collections.abc import Callable
from pathlib import Path

KILLED = -signal.SIGKILL


def forked(function: Callable[[], object]) -> int:
    """Process number of a child that calls `function` and exits with 0, or 1 if that raises."""
    pid = os.fork()
    if pid:
        return pid
    try:
        function()
    except BaseException:
        traceback.print_exc()
        os._exit(1)
    os._exit(0)


def ended(pid: int) -> int:
    """Exit status of a child, -9 where SIGKILL ended it."""
    _, status = os.waitpid(pid, 0)
    return os.waitstatus_to_exitcode(status)


def wait_for(path: Path, seconds: float = 10.0) -> None:
    """Until `path` exists; TimeoutError where it never does."""
    deadline = time.monotonic() + seconds
    while not path.exists():
        if time.monotonic() > deadline:
            raise TimeoutError(f"{path} did not appear in {seconds:g} s")
        time.sleep(0.005)


def kill(pid: int) -> None:
    """End a child at once, and wait until it is gone."""
    os.kill(pid, signal.SIGKILL)
    assert ended(pid) == KILLED
