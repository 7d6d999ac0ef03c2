"""A process that forks for the threads of another one, which must not do it themselves."""

from __future__ import annotations

import ctypes
import fcntl
import json
import os
import signal
import socket
import threading
from collections.abc import Callable, Sequence
from multiprocessing import forkserver
from types import TracebackType
from typing import Any, NoReturn

from sparsekit.system import forking as system_forking

Begin = Callable[..., None]
Run = Callable[[Sequence[str]], NoReturn]
PR_SET_CHILD_SUBREAPER = 36
HIGH = 200
"""Files that were sent are kept above this number until they get the numbers of the sender."""


def forget_interpreter() -> None:
    """Let a process that was forked begin its own interpreter for workers, as a new process does.

    That of its parent may end, as far as this process is concerned.
    """
    server = forkserver._forkserver
    if server._forkserver_alive_fd is not None:
        os.close(server._forkserver_alive_fd)
    server.__init__()
    system_forking._interpreter = None


class Forker:
    """Forks processes that `begin` and `run`, as children of the one that made it."""

    def __init__(self, begin: Begin, run: Run) -> None:
        self.begin, self.run = begin, run
        self.lock = threading.Lock()

    def __enter__(self) -> Forker:
        self.line, end = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.pid = os.fork()
        if self.pid == 0:
            self.line.close()
            self._serve(end)
        end.close()
        _adopt_orphans(True)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        where: TracebackType | None,
    ) -> None:
        _adopt_orphans(False)
        self.line.shutdown(socket.SHUT_RDWR)
        self.line.close()
        os.waitpid(self.pid, 0)

    def forked(self, typed: Sequence[str], kept: Sequence[int]) -> int:
        """Number of a process that runs `typed`, with the open files `kept` and all of these:
        folder, environment and signals that the calling thread keeps back."""
        asked = {
            "typed": list(typed),
            "kept": list(kept),
            "cwd": os.getcwd(),
            "env": dict(os.environ),
            "held": sorted(signal.pthread_sigmask(signal.SIG_BLOCK, ())),
        }
        with self.lock:
            socket.send_fds(self.line, [json.dumps(asked).encode()], kept)
            return int(self.line.recv(100))

    def _serve(self, end: socket.socket) -> NoReturn:
        signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
        while True:
            text, files, _, _ = socket.recv_fds(end, 1_000_000, 100)
            if not text:
                os._exit(0)
            telling, told = os.pipe()
            between = os.fork()
            if between == 0:
                pid = os.fork()
                if pid == 0:
                    self._work(json.loads(text), files)
                os.write(told, str(pid).encode())
                os._exit(0)
            os.waitpid(between, 0)  # what it forked is the asker's child now
            end.send(os.read(telling, 100))
            for file in (telling, told, *files):
                os.close(file)

    def _work(self, asked: dict[str, Any], files: Sequence[int]) -> NoReturn:
        kept = asked["kept"]
        above = [fcntl.fcntl(file, fcntl.F_DUPFD, HIGH) for file in files]
        for file, number in zip(above, kept, strict=True):
            os.dup2(file, number)
        self.begin(asked["cwd"], asked["env"], (), kept=kept)
        signal.pthread_sigmask(signal.SIG_SETMASK, asked["held"])
        self.run(asked["typed"])


def _adopt_orphans(adopts: bool) -> None:
    """Make this process the parent of its grandchildren that lose theirs, or no longer."""
    if ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, int(adopts), 0, 0, 0):
        raise OSError("prctl cannot make this process adopt orphans")
