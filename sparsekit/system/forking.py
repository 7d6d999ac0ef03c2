"""Processes forked from one interpreter that has imported what a fit needs.

It is that of Python's `multiprocessing.forkserver`: begun when this process first wants a worker,
kept for all cycles and runs of this process, and gone when this process and what was forked for it
are, however they end. It has one thread, listens to no signal that asks to end, and computes
nothing. Its socket lies in the temporary folder, and stays there if this process is killed.
"""

from __future__ import annotations

import contextlib
import dataclasses
import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from multiprocessing import forkserver
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess

from sparsekit.system import interruption
from sparsekit.system.gpus import visible_gpus

PRELOADED = "sparsekit.system.preloaded"
THREADS = "OMP_NUM_THREADS"
NOT_THERE = (EOFError, ConnectionError, FileNotFoundError)
"""What is raised where the interpreter has ended."""


@dataclasses.dataclass(frozen=True)
class Start:
    """What a process is told at its start. `listens`: it handles the signals itself."""

    environment: Mapping[str, str]
    listens: bool


Serve = Callable[[Connection, Start], None]


@dataclasses.dataclass
class _Interpreter:
    """The one that this process has begun; `owner` is this process, not one forked from it.

    It is begun again if it ends, unless it has not forked anything by then.
    """

    owner: int
    threads: str
    has_forked: bool = False
    is_usable: bool = True


_interpreter: _Interpreter | None = None
_lock = threading.Lock()


def begin(serve: Serve, start: Start) -> tuple[BaseProcess, Connection]:
    """Start a process that calls `serve(line, start)`; return it and the other end of its line.

    It is spawned, and imports everything anew, where forking is not safe:

    * There are GPUs. Importing may wake their driver, which then works in no fork.
    * What the interpreter has imported runs threads: a fork has none of them, but the locks that
      they held.
    * It could not be begun, such as where the temporary folder has no place for its socket.
    * This process was forked from the one that has begun the interpreter, and is nothing to it.
    * Another number of CPU threads is asked for; libraries read it when they are loaded.
    """
    if _may_fork(start):
        assert _interpreter is not None
        try:
            begun = _begun("forkserver", serve, start)
            _interpreter.has_forked = True
            return begun
        except NOT_THERE:
            _interpreter.is_usable, _interpreter.has_forked = _interpreter.has_forked, False
    return _begun("spawn", serve, start)


def make_own(start: Start) -> None:
    """Give this process, which was started with `start`, all that a new interpreter has."""
    os.environ.clear()
    os.environ.update(start.environment)
    numpy = sys.modules.get("numpy")
    if numpy is not None:
        numpy.random.seed()  # from the system, as when it is imported; or forks draw the same
    if start.listens:
        interruption.listen()
    signal.pthread_sigmask(signal.SIG_UNBLOCK, interruption.SIGNALS)


def _may_fork(start: Start) -> bool:
    """Say whether an interpreter is there, or now begun, from which `start` can be forked."""
    global _interpreter
    if visible_gpus():
        return False
    threads = start.environment[THREADS]
    with _lock:
        if _interpreter is None:
            forkserver.set_forkserver_preload([PRELOADED])
            _interpreter = _Interpreter(os.getpid(), threads)
        one = _interpreter
        if one.is_usable and (one.owner, one.threads) == (os.getpid(), threads):
            try:
                # Not to be ended by a signal to all processes of a job, nor are those it forks.
                with interruption.kept_back(), _set(THREADS, threads):
                    forkserver.ensure_running()
                return True
            except OSError:
                one.is_usable = False
    return False


def _begun(way: str, serve: Serve, start: Start) -> tuple[BaseProcess, Connection]:
    context = multiprocessing.get_context(way)
    line, far_end = context.Pipe()
    process: BaseProcess = context.Process(target=serve, args=(far_end, start))  # type: ignore[attr-defined]
    try:
        with interruption.held():
            process.start()
    except BaseException:
        line.close()
        raise
    finally:
        far_end.close()  # so that the line ends when the process does
    return process, line


@contextlib.contextmanager
def _set(name: str, value: str) -> Iterator[None]:
    """Set a variable of this process's environment, for what is begun meanwhile."""
    before = os.environ.get(name)
    os.environ[name] = value
    try:
        yield
    finally:
        if before is None:
            del os.environ[name]
        else:
            os.environ[name] = before
