"""Imports of large packages."""

from __future__ import annotations

import contextlib
import gc
import importlib
import os
from collections.abc import Iterator, Sequence

TRAINING = ("sparsekit.runs.runner", "sparsekit.training.trainer", "torch._dynamo")
"""What a fit imports, in more seconds than short ones train; by name, for it lies above here."""


class ThreadsRun(RuntimeError):
    """What was imported has started threads, and so this process must not fork."""


@contextlib.contextmanager
def uncollected() -> Iterator[None]:
    """Import PyTorch and Lightning without collecting garbage meanwhile.

    Importing makes half a million objects that stay. Python's collector looks at them again and
    again, for a sixth of the time that the imports take.
    """
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


def import_to_fork(modules: Sequence[str]) -> None:
    """Import `modules` into a process that does nothing but fork.

    A fork has only the thread that forked: locks that others held would stay locked in it.
    ThreadsRun if there are others; those of OpenBLAS, which ends them before each fork, are not.
    """
    with uncollected():
        for name in modules:
            importlib.import_module(name)
    _fork_once()
    if (number := len(os.listdir("/proc/self/task"))) > 1:
        raise ThreadsRun(f"{number} threads run when {', '.join(modules)} are imported")
    gc.freeze()


def _fork_once() -> None:
    """Let libraries do what they do before a fork, such as ending their threads."""
    pid = os.fork()
    if pid == 0:
        os._exit(0)
    os.waitpid(pid, 0)
