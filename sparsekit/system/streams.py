"""Standard streams that may go away: a reader that leaves, a terminal that closes, a full disk.

What a run prints is for whoever looks. No result depends on it, so that what cannot be printed
ends nothing.
"""

from __future__ import annotations

import contextlib
import errno
import io
import os
import select
import signal
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

NAMES = ("stdin", "stdout", "stderr")
OUT = 1


class Unfailing(io.RawIOBase):
    """A file descriptor whose failing writes are dropped; `failure` is the first of them."""

    def __init__(self, descriptor: int) -> None:
        super().__init__()
        self.descriptor = descriptor
        self.failure: OSError | None = None

    @property
    def name(self) -> int:
        return self.descriptor

    def writable(self) -> bool:
        return True

    def fileno(self) -> int:
        return self.descriptor

    def isatty(self) -> bool:
        try:
            return os.isatty(self.descriptor)
        except OSError:
            return False

    def write(self, data: ReadableBuffer, /) -> int:
        left = memoryview(data).cast("B")
        size = len(left)
        while left:
            try:
                left = left[os.write(self.descriptor, left) :]
            except BlockingIOError:
                select.select([], [self.descriptor], [])
            except OSError as error:
                self._note(error)
                break
        return size

    def _note(self, error: OSError) -> None:
        if self.failure is not None:
            return
        self.failure = error
        if self.descriptor == OUT and sys.stderr is not None:
            sys.stderr.write(f"warning: {_told(error)}\n")


def outlive_readers() -> None:
    """Go on from now on when standard output or the error stream cannot be written to.

    Streams that were closed lead to /dev/null: else the next file that is opened would get their
    numbers, and whatever is printed. Streams that are not those of the process stay as they are,
    such as those of a notebook.
    """
    open_missing()
    for number in (1, 2):
        stream = getattr(sys, NAMES[number])
        if _has_number(stream, number) and not isinstance(stream.buffer, Unfailing):
            with contextlib.suppress(OSError):
                stream.flush()
            setattr(sys, NAMES[number], _unfailing(stream, number))


def open_missing() -> None:
    """Let standard streams that are closed lead to /dev/null."""
    for number, name in enumerate(NAMES):
        try:
            os.fstat(number)
        except OSError:
            # The lowest number that is free, which is this one.
            os.open(os.devnull, os.O_RDWR)
        if getattr(sys, name) is None:
            mode = "r" if name == "stdin" else "w"
            setattr(sys, name, open(number, mode, closefd=False))  # noqa: SIM115


def printed(main: Callable[[], int]) -> int:
    """Run a command that is there to print: it ends with its reader, as others do.

    1 with a message where it could not print everything for another reason.
    """
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    outlive_readers()
    status = main()
    sys.stdout.flush()
    failed = isinstance(sys.stdout.buffer, Unfailing) and sys.stdout.buffer.failure is not None
    return status or int(failed)


def _has_number(stream: Any, number: int) -> bool:
    try:
        return bool(stream.fileno() == number)
    except (AttributeError, OSError, ValueError):
        return False


def _unfailing(stream: io.TextIOWrapper, number: int) -> io.TextIOWrapper:
    return io.TextIOWrapper(
        Unfailing(number),
        encoding=stream.encoding,
        errors="backslashreplace",  # what an encoding does not have fails nothing either
        line_buffering=stream.line_buffering,
        write_through=stream.write_through,
    )


def _told(error: OSError) -> str:
    if error.errno == errno.EPIPE:
        return "nobody reads any more what is printed"
    return f"what is printed is lost: {error.strerror}"
