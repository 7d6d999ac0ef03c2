"""Being asked to end: the one owner of the signals that a cluster sends before it takes a machine.

SIGUSR2 (the time is nearly up, or the machine is wanted), SIGTERM (the end) and SIGHUP (the
terminal was closed) set a flag, nothing else. Code that can stop without a loss checks the flag
where it can, saves, and raises `Stopped`. An exception raised by a handler would leave from any
line, and an `except Exception` on its way would swallow it.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import threading
from collections.abc import Iterator
from multiprocessing import resource_tracker
from types import FrameType

SIGNALS = (signal.SIGUSR2, signal.SIGTERM, signal.SIGHUP)
POLL_SECONDS = 0.1

_received: dict[int, list[str]] = {}
"""What the process of a number has received; a forked child has another number, so that neither
what its parent received nor that its parent listens counts for it."""


class Stopped(BaseException):
    """Asked to end; everything that the next start needs is saved. `signals`: what asked, in order.

    Not an Exception, because it is not a failure that code on the way may handle.
    """

    def __init__(self, signals: tuple[str, ...]) -> None:
        super().__init__(signals)
        self.signals = signals

    def __str__(self) -> str:
        return f"asked to end by {', '.join(self.signals)}"


def listen() -> None:
    """Notice `SIGNALS` from now on, whoever has installed a handler for them before.

    SIGHUP stays ignored where it is, as under `nohup`. Also lets in what `held` has kept back. To
    be called again after a library that installs handlers of its own; what was received before
    still counts. ValueError outside the main thread.
    """
    for number in SIGNALS:
        if number != signal.SIGHUP or signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, _note)
    _received.setdefault(os.getpid(), [])
    signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)


def listening() -> bool:
    """Say whether this process has called `listen`."""
    return os.getpid() in _received


def forget() -> None:
    """Restore what the signals do by default, and forget what was received."""
    _received.pop(os.getpid(), None)
    for number in SIGNALS:
        signal.signal(number, signal.SIG_DFL)


def received() -> tuple[str, ...]:
    """Return the names of the signals received, by first arrival, such as ("SIGUSR2",)."""
    return tuple(_received.get(os.getpid(), ()))


def asked() -> bool:
    """Say whether this process has been asked to end; never true if it does not listen."""
    return bool(_received.get(os.getpid()))


def check() -> None:
    """Raise Stopped if this process has been asked to end."""
    if asked():
        raise Stopped(received())


@contextlib.contextmanager
def held() -> Iterator[None]:
    """Keep the signals back from this thread, and from the processes it starts meanwhile.

    A process is born without a handler and would die of them. Started in here it notices them when
    it calls `listen`, or never. Nothing happens in a process that does not listen.
    """
    with kept_back() if listening() else contextlib.nullcontext():
        yield


@contextlib.contextmanager
def kept_back() -> Iterator[None]:
    """Do the same in a process that does not listen as well."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextlib.contextmanager
def passed_on() -> Iterator[None]:
    """Ask the children that multiprocessing has started, too, when this process is asked.

    They are sent SIGTERM, again and again until the block ends: a child may be born, or begin to
    listen, after the signal. Nothing happens in a process that does not listen.
    """
    if not listening():
        yield
        return
    with held():
        # Or a signal to every process of the job would end it, and semaphores would leak.
        resource_tracker.ensure_running()
    done = threading.Event()
    thread = threading.Thread(target=_pass_on, args=(done,), daemon=True, name="sparsekit-signals")
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


def _pass_on(done: threading.Event) -> None:
    while not done.wait(POLL_SECONDS):
        if asked():
            for child in multiprocessing.active_children():
                child.terminate()


def _note(number: int, frame: FrameType | None) -> None:
    mine = _received.get(os.getpid())
    name = signal.Signals(number).name
    if mine is not None and name not in mine:
        mine.append(name)
