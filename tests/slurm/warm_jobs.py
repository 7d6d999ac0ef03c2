"""Processes that need not import PyTorch and Lightning: a server forks what they run.

They are jobs of SLURM and workers of xdist. Importing costs five seconds of a processor in each,
and a test run has many of them.
"""

from __future__ import annotations

import contextlib
import functools
import importlib
import json
import os
import shlex
import signal
import socket
import sys
import tempfile
import threading
from pathlib import Path
from typing import Any, NoReturn

from tests import memory, warm

NEEDED = ("sparsekit.runs.runner", "sparsekit.sweeps.job", "sklearn.datasets", "torch._dynamo")
STAND_IN = Path(__file__).with_name("stand_in.py")


@functools.cache
def python() -> str:
    """Return what jobs run instead of Python; the server behind it ends with this process."""
    for module in NEEDED:
        importlib.import_module(module)
    memory.settle()
    path = Path(tempfile.mkdtemp(prefix="sparsekit-warm-")) / "socket"
    listening = socket.socket(socket.AF_UNIX)
    listening.bind(str(path))
    listening.listen(100)
    alive, owner = os.pipe()
    os.set_inheritable(owner, False)
    if os.fork() == 0:
        os.close(owner)
        _serve(listening, alive)
    os.close(alive)
    listening.close()
    OWNERS.append(owner)
    return shlex.join([sys.executable, "-IS", str(STAND_IN), str(path)])


OWNERS: list[int] = []
"""Ends of pipes that close when this process ends, however it does."""


def _serve(listening: socket.socket, alive: int) -> NoReturn:
    os.setsid()
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for the keepers
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with, args=(alive,), daemon=True).start()
    while True:
        asking, _ = listening.accept()
        if os.fork() == 0:
            listening.close()
            _keep(asking)
        asking.close()


def _end_with(alive: int) -> None:
    os.read(alive, 1)
    os._exit(0)


def _keep(asking: socket.socket) -> NoReturn:
    """Fork what was asked for, and tell the one who asked its number, then how it ended."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    asked, streams = _received(asking)
    pid = os.fork()
    if pid == 0:
        threading.Thread(target=_die_with, args=(asking,), daemon=True).start()
        _work(asked, streams, kept=asking.fileno())
    for stream in streams:
        os.close(stream)
    with contextlib.suppress(OSError):  # of one who was killed
        asking.sendall(f"{pid}\n".encode())
    _, status = os.waitpid(pid, 0)
    with contextlib.suppress(OSError):
        asking.sendall(f"{os.waitstatus_to_exitcode(status)}\n".encode())
    os._exit(0)


def _received(asking: socket.socket) -> tuple[dict[str, Any], list[int]]:
    size, streams, _, _ = socket.recv_fds(asking, 8, 3)
    with asking.makefile("rb") as file:
        return json.loads(file.read(int.from_bytes(size, "big"))), streams


def _die_with(asking: socket.socket) -> None:
    asking.recv(1)
    os.kill(os.getpid(), signal.SIGKILL)


def _work(asked: dict[str, Any], streams: list[int], *, kept: int) -> NoReturn:
    warm.begin(asked["cwd"], asked["env"], streams, kept=[kept])
    warm.run(asked["typed"])
