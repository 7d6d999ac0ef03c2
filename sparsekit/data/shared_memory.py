"""The memory through which processes that read data pass on what they read, and its limits."""

import contextlib
import errno
import multiprocessing
import os
import re
from collections.abc import Iterator

PLACE = "/dev/shm"
SAID = re.compile(r"out of shared memory|shared memory ?(object|\(shm\))|</torch_\w+>")
NO_SEMAPHORE = (errno.ENOSPC, None)


@contextlib.contextmanager
def shared_memory() -> Iterator[None]:
    """Raise OSError, about /dev/shm, for all that PyTorch says where it is full."""
    try:
        yield
    except (RuntimeError, OSError) as error:
        # A semaphore that does not fit names no file.
        is_semaphore = isinstance(error, OSError) and (error.errno, error.filename) == NO_SEMAPHORE
        if not is_semaphore and not SAID.search(str(error)):
            raise
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), PLACE) from error


def require_semaphores(number: int) -> None:
    """Raise OSError where there is no space for so many.

    A loader that finds that out itself prints the traceback of an error in its own tidying up.
    """
    made = [multiprocessing.Lock() for _ in range(number)]
    del made  # which removes them again
