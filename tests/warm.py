"""Processes that begin where this one is: PyTorch and Lightning are imported already.

A command of its own process takes seconds of imports before it does anything. Forked from a test
process it begins at once, and can be asked, signalled and killed like any other.
"""

from __future__ import annotations

import atexit
import multiprocessing.util
import os
import runpy
import signal
import subprocess
import sys
import traceback
import warnings
from collections.abc import Mapping, Sequence
from typing import Any, NoReturn

from sparsekit.sweeps import pool
from sparsekit.system import interruption


class Forked(subprocess.Popen[Any]):
    """`python -m MODULE ARGUMENTS` as a fork of this process; other commands as ever."""

    def _execute_child(self, args: Sequence[str], *given: Any) -> None:
        """As of `subprocess`, whose pipes and waiting serve here too."""
        if list(args[:2]) != [sys.executable, "-m"]:
            super()._execute_child(args, *given)  # type: ignore[misc]
            return
        cwd, env, pipes, (new_session, group) = given[4], given[5], given[9:15], given[20:]
        sys.stdout.flush()
        sys.stderr.flush()
        self.pid = os.fork()
        if self.pid == 0:
            begin(cwd, env, (pipes[0], pipes[3], pipes[5]))
            _join(new_session, group)
            run(args[2], args[3:])
        self._child_created = True
        self._close_pipe_fds(*pipes)  # type: ignore[attr-defined]


def _join(new_session: bool, process_group: int) -> None:
    if new_session:
        os.setsid()
    if process_group != -1:
        os.setpgid(0, process_group)


def begin(
    cwd: str | None, env: Mapping[str, str] | None, streams: Sequence[int], *, kept: int = -1
) -> None:
    """Give a forked process what a new one has of its own: place, environment, streams, signals.

    Of the other files that were open only `kept` stays so.
    """
    for number, end in enumerate(streams):
        if end != -1:
            os.dup2(end, number)
    os.closerange(3, max(kept, 3))
    os.closerange(max(kept + 1, 3), 1024)
    sys.stdout = open(1, "w", closefd=False)  # noqa: SIM115
    sys.stderr = open(2, "w", closefd=False)  # noqa: SIM115
    if cwd is not None:
        os.chdir(cwd)
    if env is not None:
        os.environ.clear()
        os.environ.update(env)
    interruption.forget()
    signal.signal(signal.SIGINT, signal.default_int_handler)
    pool.subprocess.Popen = Forked  # type: ignore[misc]
    warnings.filterwarnings("ignore", category=RuntimeWarning, module="runpy")
    # What tests do at the end of their process is none of this one's business.
    atexit._clear()
    atexit.register(multiprocessing.util._exit_function)  # type: ignore[attr-defined]


def run(module: str, arguments: Sequence[str]) -> NoReturn:
    """Do what `python -m MODULE ARGUMENTS` does, and end this process as that would."""
    sys.argv = [module, *arguments]
    status: Any = 0
    try:
        runpy.run_module(module, run_name="__main__", alter_sys=True)
    except SystemExit as left:
        status = left.code
    except BaseException:
        traceback.print_exc()
        status = 1
    if isinstance(status, str):
        print(status, file=sys.stderr)
    try:
        atexit._run_exitfuncs()
        sys.stdout.flush()
        sys.stderr.flush()
    finally:
        os._exit(status if isinstance(status, int) else int(status is not None))
