"""Opening files of a data set, which may come from anywhere, without waiting for any."""

import os
import stat
from pathlib import Path
from typing import BinaryIO


def opened(path: Path, *, most: int) -> BinaryIO:
    """Open a regular file of at most `most` bytes, also one that a link leads to.

    Raises FileNotFoundError when it is missing, ValueError, naming it, for a pipe that would keep
    its reader waiting, a device, a folder, and whatever else cannot be read to its end.
    """
    try:
        _refuse(path, os.stat(path), most)
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        raise
    except OSError as error:
        raise ValueError(f"{path} cannot be read: {error.strerror}") from error
    file = os.fdopen(descriptor, "rb")
    try:
        # It may have been replaced since it was checked.
        _refuse(path, os.fstat(descriptor), most)
    except ValueError:
        file.close()
        raise
    return file


def _refuse(path: Path, status: os.stat_result, most: int) -> None:
    if not stat.S_ISREG(status.st_mode):
        raise ValueError(f"{path} is not a regular file")
    if status.st_size > most:
        raise ValueError(f"{path} has {status.st_size} bytes, more than the {most} that are read")
