"""Stands in a job for a Python that has imported everything already: run with `python -IS`.

    stand_in.py SOCKET -u -m MODULE ARGUMENTS...
    stand_in.py SOCKET -u -c CODE

The server behind SOCKET (warm_jobs.py) forks a process that does the work, with this one's
environment, folder and streams. What SLURM does to this process happens to that one: signals are
passed on, and it dies when this one is killed. This one ends as that one does.
"""

import contextlib
import json
import os
import signal
import socket
import sys

PASSED_ON = ("SIGHUP", "SIGINT", "SIGTERM", "SIGUSR1", "SIGUSR2", "SIGCONT")


def main() -> None:
    path, typed = sys.argv[1], sys.argv[2:]
    numbers = {getattr(signal, name) for name in PASSED_ON}
    signal.pthread_sigmask(signal.SIG_BLOCK, numbers)
    server = socket.socket(socket.AF_UNIX)
    server.connect(path)
    asked = json.dumps({"typed": typed, "cwd": os.getcwd(), "env": dict(os.environ)}).encode()
    socket.send_fds(server, [len(asked).to_bytes(8, "big")], [0, 1, 2])
    server.sendall(asked)
    told = server.makefile("r")
    pid = int(told.readline())
    for number in numbers:
        signal.signal(number, lambda given, _: pass_on(pid, given))
    signal.pthread_sigmask(signal.SIG_UNBLOCK, numbers)
    status = told.readline()
    if not status:  # whoever waits for that process was killed, and it with him
        os.kill(os.getpid(), signal.SIGKILL)
    leave(int(status))


def pass_on(pid: int, number: int) -> None:
    with contextlib.suppress(ProcessLookupError):  # then its status is on its way
        os.kill(pid, number)


def leave(status: int) -> None:
    if status >= 0:
        os._exit(status)
    if -status != signal.SIGKILL:
        signal.signal(-status, signal.SIG_DFL)
    os.kill(os.getpid(), -status)


if __name__ == "__main__":
    main()
