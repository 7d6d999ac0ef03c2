"""What the system refuses a program that did nothing wrong: said in one line, without traceback.

A disk that is full, a quota, a file system that became read-only: where in the code that was
noticed helps nobody, and the same command goes on when there is room again.
"""

from __future__ import annotations

import errno
import os
import tempfile
from collections.abc import Iterable
from pathlib import Path

from sparsekit.system.printing import remark
from sparsekit.system.secrets import masked_here
from sparsekit.system.users import denied

WORDS = {
    errno.ENOSPC: "no space is left",
    errno.EDQUOT: "the disk quota is used up",
    errno.EFBIG: "the limit on the size of a file is reached (ulimit -f)",
    errno.EROFS: "the file system is read-only",
    errno.EIO: "the disk or the file server reports an error",
    errno.ESTALE: "the file server has lost the file",
    errno.EMFILE: "too many files are open in this process (ulimit -n)",
    errno.ENFILE: "too many files are open on this machine",
    errno.ENOMEM: "no memory is left",
    errno.EACCES: "permission denied",
    errno.EPERM: "not permitted",
    errno.ENAMETOOLONG: "the name is too long",
    errno.EXDEV: "work/ and stages/ of a store have to be on one file system",
}
ONLY_OF_FILES = (errno.EACCES, errno.EPERM, errno.ENAMETOOLONG)
SHARED_MEMORY = Path("/dev/shm")
NO_SHARED_MEMORY = (
    f"no space is left in the shared memory ({SHARED_MEMORY}), in which the processes that read "
    "data leave what they read; with num_workers=0 there are none"
)


def refusal_in(error: BaseException) -> str | None:
    """Say what the system refused, if that is what `error` reports; None for other errors.

    >>> refusal_in(OSError(errno.EROFS, "Read-only file system", "/mnt/a"))
    'the file system is read-only: /mnt/a'
    >>> refusal_in(ValueError("not a number"))
    """
    return _of_system(error) if isinstance(error, OSError) else None


def require_writable(folder: Path, below: Iterable[str] = ()) -> None:
    """Raise OSError where nothing can be stored: a fit must not find that out at its end.

    `below`: patterns of folders in it that must be writable too, where they exist.
    """
    nearest = next(place for place in (folder, *folder.absolute().parents) if place.exists())
    with tempfile.TemporaryFile(dir=nearest):
        pass
    for place in (found for pattern in below for found in folder.glob(pattern)):
        if place.is_dir() and not os.access(place, os.W_OK | os.X_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(place))


def require_one_file_system(folder: Path, below: Iterable[str]) -> None:
    """Raise OSError where folders, as far as they exist, lie elsewhere than the one they are in.

    What is renamed from one to another would have to be copied, which is not done in one step.
    """
    for place in (found for pattern in below for found in folder.glob(pattern)):
        if place.stat().st_dev != folder.stat().st_dev:
            raise OSError(errno.EXDEV, os.strerror(errno.EXDEV), str(place))


def _of_system(error: OSError) -> str | None:
    if isinstance(error, FileNotFoundError) and error.filename is None and not _has_folder():
        return "the folder from which this was started is not there any more; change to another"
    if error.errno not in WORDS or (error.filename is None and error.errno in ONLY_OF_FILES):
        return None
    if error.filename == str(SHARED_MEMORY):
        return NO_SHARED_MEMORY
    if isinstance(error, PermissionError) and error.filename is not None:
        return f"{WORDS[error.errno]}: {denied(Path(error.filename))}"
    where = _full() if error.filename is None and error.errno == errno.ENOSPC else error.filename
    return f"{WORDS[error.errno]}{f': {where}' if where else ''}"


def _has_folder() -> bool:
    try:
        os.getcwd()
    except FileNotFoundError:
        return False
    return True


def _full() -> str:
    """Name the places, of those that programs use unasked, where there is no space."""
    return ", ".join(str(place) for place in (SHARED_MEMORY, Path("/tmp")) if _is_full(place))


def _is_full(place: Path) -> bool:
    try:
        found = os.statvfs(place)
    except OSError:
        return False
    return found.f_bavail == 0 or (found.f_files > 0 and found.f_favail == 0)


def told(error: Exception, *, status: int) -> int:
    """Say in one line, without secrets, what a command was refused for; return its exit status."""
    text = error.args[0] if isinstance(error, LookupError) and error.args else error
    line = refusal_in(error) or " ".join(str(text).split())
    remark(f"error: {masked_here(line, is_prose=True)}")
    return status
