"""Processes that begin where this one is: PyTorch and Lightning are imported already.

A command of its own process takes seconds of imports before it does anything. Forked from a test
process it begins at once, and can be asked, signalled and killed like any other.
"""

from __future__ import annotations

import atexit
import concurrent.futures.thread
import contextlib
import multiprocessing.util
import os
import runpy
import signal
import subprocess
import sys
import traceback
import warnings
from collections.abc import Iterator, Mapping, Sequence, Set
from typing import Any, NoReturn

import pytest

from sparsekit.sweeps import pool
from sparsekit.system import interruption
from tests import forking


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
            run(args[1:])
        self._child_created = True
        self._close_pipe_fds(*pipes)  # type: ignore[attr-defined]


def _join(new_session: bool, process_group: int) -> None:
    if new_session:
        os.setsid()
    if process_group != -1:
        os.setpgid(0, process_group)


@contextlib.contextmanager
def spawning() -> Iterator[None]:
    """Let multiprocessing spawn processes as forks of this one.

    What they are to do is pickled, and read by them, as where they import everything anew.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(multiprocessing.util, "spawnv_passfds", _spawned)
        yield


@contextlib.contextmanager
def spawning_in_threads() -> Iterator[None]:
    """The same for processes that threads of this one begin, as the executor does.

    A thread must not fork: others may hold locks, which nobody would release in its child. A
    process that has no threads does it instead; what it forked becomes a child of this one.
    """
    with forking.Forker(begin, run) as forker, pytest.MonkeyPatch.context() as patch:

        def spawned(path: bytes, args: Sequence[str], kept: Sequence[int]) -> int:
            return forker.forked(args[1:], kept) if _is_ours(args) else SPAWNV(path, args, kept)

        patch.setattr(multiprocessing.util, "spawnv_passfds", spawned)
        yield


def _is_ours(args: Sequence[str]) -> bool:
    """Say whether a worker or rank is begun, or what workers are forked from."""
    return any(mark in str(text) for text in args for mark in MARKS)


def _spawned(path: bytes, args: Sequence[str], kept: Sequence[int]) -> int:
    if not _is_ours(args):
        return SPAWNV(path, args, kept)
    sys.stdout.flush()
    sys.stderr.flush()
    pid = os.fork()
    if pid == 0:
        begin(None, None, (), kept=kept)
        run(args[1:])
    return pid


MARKS = ("--multiprocessing-fork", "from multiprocessing.forkserver import")
SPAWNV = multiprocessing.util.spawnv_passfds  # type: ignore[attr-defined]


def begin(
    cwd: str | None,
    env: Mapping[str, str] | None,
    streams: Sequence[int],
    *,
    kept: Sequence[int] = (),
) -> None:
    """Give a forked process what a new one has of its own: place, environment, streams, signals.

    Of the other files that were open only those `kept` stay so.
    """
    for number, end in enumerate(streams):
        if end != -1:
            os.dup2(end, number)
    _close_all_but({0, 1, 2, *kept})
    sys.stdin = open(0, closefd=False)  # noqa: SIM115
    sys.stdout = open(1, "w", closefd=False)  # noqa: SIM115
    sys.stderr = open(2, "w", closefd=False)  # noqa: SIM115
    if cwd is not None:
        os.chdir(cwd)
    if env is not None:
        os.environ.clear()
        os.environ.update(env)
    interruption.forget()
    forking.forget_interpreter()
    signal.signal(signal.SIGINT, signal.default_int_handler)
    # What tests do at the end of their process is none of this one's business, nor are the threads
    # of pools, none of which is there.
    atexit._clear()
    concurrent.futures.thread._threads_queues.clear()  # type: ignore[attr-defined]
    atexit.register(multiprocessing.util._exit_function)  # type: ignore[attr-defined]


def _close_all_but(kept: Set[int]) -> None:
    """Close what was open before; the numbers stay taken, for objects that close them again."""
    nothing = os.open(os.devnull, os.O_RDWR)
    for number in map(int, os.listdir("/proc/self/fd")):
        with contextlib.suppress(OSError):  # of the listing itself
            if number not in kept and os.fstat(number):
                os.dup2(nothing, number, inheritable=False)


def run(typed: Sequence[str]) -> NoReturn:
    """Do what `python OPTIONS -m MODULE ARGUMENTS` or `-c CODE` does, and end as that would."""
    place = next(i for i, text in enumerate(typed) if text in ("-m", "-c"))
    kind, what = typed[place : place + 2]
    sys.argv = [what if kind == "-m" else kind, *typed[place + 2 :]]
    status: Any = 0
    try:
        if kind == "-m":
            pool.subprocess.Popen = Forked  # type: ignore[misc]
            warnings.filterwarnings("ignore", category=RuntimeWarning, module="runpy")
            runpy.run_module(what, run_name="__main__", alter_sys=True)
        else:
            exec(what, {"__name__": "__main__"})
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
