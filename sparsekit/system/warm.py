"""An interpreter that has imported what takes seconds, and forks processes that begin there.

    python -m sparsekit.system.warm MODULE ...    imports them; its input is a socket that asks

It computes nothing, so that nothing is in the way of a fork: no thread, no random number drawn.
What it forks is a child of the process that asked, which sees it end as any other.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import runpy
import select
import signal
import socket
import subprocess
import sys
import traceback
from collections.abc import Iterator, Mapping, Sequence
from typing import BinaryIO, NoReturn

from sparsekit.system import interruption
from sparsekit.system.importing import ThreadsRun, import_to_fork
from sparsekit.system.leaving import leave, leave_after
from sparsekit.system.printing import remark

NAME = "sparsekit.system.warm"
PR_SET_CHILD_SUBREAPER = 36
MOST_BYTES = 100_000
READY = b"ready"


class Cold(RuntimeError):
    """There is no warm interpreter, or not any more."""


class Process:
    """A process that was forked for this one, as far as `subprocess.Popen` is the same."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self.returncode: int | None = None

    def poll(self) -> int | None:
        """Return the exit status, minus the number of a signal; None while it runs."""
        return self._waited(os.WNOHANG)

    def wait(self) -> int | None:
        """Return the exit status when it has ended."""
        return self._waited(0)

    def terminate(self) -> None:
        """Send SIGTERM, unless it has ended."""
        if self.poll() is None:
            os.kill(self.pid, signal.SIGTERM)

    def _waited(self, options: int) -> int | None:
        if self.returncode is None:
            pid, status = os.waitpid(self.pid, options)
            if pid:
                self.returncode = os.waitstatus_to_exitcode(status)
        return self.returncode


class Warm:
    """Starts processes in an interpreter that has imported `modules`, with this environment.

    Cold: it could not be started.
    """

    def __init__(self, modules: Sequence[str], environment: Mapping[str, str]) -> None:
        self.line, end = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        command = [sys.executable, "-m", NAME, *modules]
        with end, interruption.held():
            try:
                self.process = subprocess.Popen(
                    command, stdin=end.fileno(), env=dict(environment), process_group=0
                )
            except OSError as error:
                self.line.close()
                raise Cold(str(error)) from error

    def close(self) -> None:
        """Let the interpreter go; what it has forked goes on."""
        self.line.close()
        self.process.wait()

    def is_ready(self) -> bool:
        """Say whether everything is imported; Cold if that has failed."""
        if not select.select([self.line], [], [], 0)[0]:
            return False
        try:
            told = self.line.recv(MOST_BYTES, socket.MSG_PEEK)
        except OSError:
            told = b""
        if told != READY:
            raise Cold("the interpreter that others are forked from has ended")
        return True

    def begin(
        self, module: str, arguments: Sequence[str], surroundings: Mapping[str, str], log: BinaryIO
    ) -> Process:
        """Begin `python -m module arguments` in a group of its own, its output in `log`.

        `surroundings` are what its environment differs in. Cold if there is nobody to fork it.
        """
        asked = json.dumps([module, list(arguments), dict(surroundings)]).encode()
        try:
            socket.send_fds(self.line, [asked], [log.fileno()])
            self.line.recv(MOST_BYTES)  # that it was ready
            told = self.line.recv(MOST_BYTES)
        except OSError as error:
            raise Cold(str(error)) from error
        if not told:
            raise Cold("the interpreter that others are forked from has ended")
        return Process(int(told))


@contextlib.contextmanager
def adopting() -> Iterator[bool]:
    """Become the parent of descendants that lose theirs; yields whether that is possible here."""
    try:
        is_done = ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) == 0
    except (AttributeError, OSError):
        is_done = False
    try:
        yield is_done
    finally:
        if is_done:
            ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 0, 0, 0, 0)


def asked_for(modules: Sequence[str]) -> str:
    """Import `modules` and fork what is asked for; return in each fork, what module to run.

    The process itself ends with who asks.
    """
    try:
        import_to_fork(modules)
    except ThreadsRun as error:
        remark(f"processes import everything anew: {error}")
        os._exit(1)
    with socket.socket(fileno=os.dup(0)) as line:
        while True:
            try:
                line.send(READY)
                text, files, _, _ = socket.recv_fds(line, MOST_BYTES, 1)
            except OSError:
                text = b""
            if not text:  # nobody is there any more
                os._exit(0)
            if (pid := _forked()) == 0:
                break
            line.send(str(pid).encode())
            for file in files:
                os.close(file)
    return _begun(json.loads(text), files[0])


def _forked() -> int:
    """Fork twice, so that who adopts orphans gets the child; return 0 there, else its number."""
    telling, told = os.pipe()
    between = os.fork()
    if between == 0:
        pid = os.fork()
        if pid == 0:
            os.close(telling)
            os.close(told)
            return 0
        os.write(told, str(pid).encode())
        os._exit(0)
    os.waitpid(between, 0)
    os.close(told)
    with open(telling) as read:
        return int(read.read())


def _begun(asked: tuple[str, list[str], dict[str, str]], log: int) -> str:
    """Take the place, the environment and the output of a new process; return its module."""
    module, arguments, surroundings = asked
    os.setpgid(0, 0)
    nothing = os.open(os.devnull, os.O_RDONLY)
    for file, number in ((nothing, 0), (log, 1), (log, 2)):
        os.dup2(file, number)
    os.close(nothing)
    os.close(log)
    os.environ.update(surroundings)
    sys.argv = [module, *arguments]
    return module


def _finish(module: str) -> NoReturn:
    """Run a module as its own program, and end with its exit status."""
    try:
        leave_after(lambda: _run(module))
    except SystemExit as left:
        print(left.code, file=sys.stderr)
    except BaseException:
        traceback.print_exc()
    leave(1)


def _run(module: str) -> int:
    runpy.run_module(module, run_name="__main__", alter_sys=True)
    return 0


if __name__ == "__main__":
    _finish(asked_for(sys.argv[1:]))
