"""Other processes for tests of the store: forked, so that they start in a millisecond."""

from __future__ import annotations

import os
import signal
import traceback
from collections.abc import Callable
from pathlib import Path

from tests.forking import forget_interpreter
from tests.waiting import wait_until

KILLED = -signal.SIGKILL


def forked(function: Callable[[], object]) -> int:
    """Process number of a child that calls `function` and exits with 0, or 1 if that raises."""
    pid = os.fork()
    if pid:
        return pid
    try:
        forget_interpreter()
        function()
    except BaseException:
        traceback.print_exc()
        os._exit(1)
    os._exit(0)


def ended(pid: int) -> int:
    """Exit status of a child, -9 where SIGKILL ended it."""
    _, status = os.waitpid(pid, 0)
    return os.waitstatus_to_exitcode(status)


def wait_for(path: Path) -> None:
    """Until `path` exists."""
    wait_until(path.exists, f"{path} does not appear", every=0.005)


def kill(pid: int) -> None:
    """End a child at once, and wait until it is gone."""
    os.kill(pid, signal.SIGKILL)
    assert ended(pid) == KILLED
