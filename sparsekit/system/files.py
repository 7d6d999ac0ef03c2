"""Files that are written whole or not at all, and read as if somebody else had written them.

Whatever a store holds may be damaged, or come from somebody hostile. So only regular files are
opened, never through a link, never one that would keep its reader waiting; and JSON is bounded in
size and depth, has no number that is not finite and no name twice. What it says is checked against
a schema (`system/schema.py`) by whoever reads it.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import math
import os
import shutil
import stat
import uuid
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NoReturn

MOST_BYTES, MOST_BYTES_OF_TENSORS = 2**28, 2**36
MOST_LEVELS = 100
MOST_DIGITS = 300
KINDS = {
    stat.S_IFLNK: "a link", stat.S_IFDIR: "a folder", stat.S_IFIFO: "a pipe",
    stat.S_IFSOCK: "a socket", stat.S_IFCHR: "a device", stat.S_IFBLK: "a device",
}  # fmt: skip


class Damaged(ValueError):
    """A file that cannot be what was written there; the message names it and says why."""


class Hidden(Damaged):
    """A file that this user may not read. It may be whole: nobody may put it aside for that."""


def open_regular(path: Path) -> io.BufferedReader:
    """Open a regular file for reading.

    Damaged for a link, a folder, a pipe, a device: whatever is no file, or would have to be waited
    for. OSError where it is not there or may not be read.
    """
    _refuse_other_kinds(path, os.lstat(path).st_mode)
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        raise
    except OSError:
        # It may have become something else since it was looked at.
        _refuse_other_kinds(path, os.lstat(path).st_mode)
        raise
    file = open(descriptor, "rb")  # noqa: SIM115
    try:
        _refuse_other_kinds(path, os.fstat(descriptor).st_mode)
    except Damaged:
        file.close()
        raise
    return file


def open_log(path: Path) -> io.BufferedWriter:
    """Open a regular file to write at its end; Damaged for what else may lie there.

    One that has other names as well, as in a copy made of hard links, is replaced by a copy first:
    what is written here is not to appear there.
    """
    if os.path.lexists(path):
        status = os.lstat(path)
        _refuse_other_kinds(path, status.st_mode)
        if status.st_nlink > 1:
            with replacing(path, path.with_name(f".{uuid.uuid4().hex}.partial")) as temporary:
                shutil.copyfile(path, temporary, follow_symlinks=False)
    flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    return open(os.open(path, flags, 0o666), "ab")


def _refuse_other_kinds(path: Path, mode: int) -> None:
    if not stat.S_ISREG(mode):
        raise Damaged(f"{path} is {KINDS.get(stat.S_IFMT(mode), 'no file')}, not a regular file")


def checksum(path: Path) -> str:
    """Return the SHA-256 of a regular file's bytes; errors are those of `read_bytes`."""
    with open_regular(path) as file:
        _refuse_size(path, file, MOST_BYTES_OF_TENSORS)
        return hashlib.file_digest(file, "sha256").hexdigest()


def read_bytes(path: Path, *, most: int) -> bytes:
    """Read a regular file; Damaged for more than `most` bytes, and as `open_regular`."""
    with open_regular(path) as file:
        _refuse_size(path, file, most)
        return file.read()


def _refuse_size(path: Path, file: io.BufferedReader, most: int) -> None:
    """Raise Damaged for a file that is larger than any of its kind: reading it might never end."""
    size = os.fstat(file.fileno()).st_size
    if size > most:
        raise Damaged(f"{path} has {size:,} bytes; more than {most:,} are not read")


def read_json(path: Path, *, most: int = MOST_BYTES) -> Any:
    """Read the value of a JSON file of at most `most` bytes.

    Damaged for what is none, or is not a regular file; FileNotFoundError where there is none.
    """
    try:
        return parsed(read_bytes(path, most=most))
    except (Damaged, FileNotFoundError):
        raise
    except (ValueError, OSError) as error:
        said = error.strerror if isinstance(error, OSError) else error
        kind = Hidden if isinstance(error, PermissionError) else Damaged
        raise kind(f"{path} cannot be read: {said}") from error


def parsed(text: str | bytes) -> Any:
    """Return the value of a JSON text; ValueError for what is none, or is nested too deeply."""
    decoded = text.decode() if isinstance(text, bytes) else text
    try:
        value = json.loads(
            decoded,
            object_pairs_hook=_mapping,
            parse_float=_finite,
            parse_int=_whole,
            parse_constant=_refuse_constant,
        )
    except RecursionError as error:
        raise ValueError(f"nested more than {MOST_LEVELS} deep") from error
    if decoded.count("[") + decoded.count("{") > MOST_LEVELS:
        _refuse_depth(value)
    return value


def _mapping(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) != len(pairs):
        twice = next(name for name, _ in pairs if sum(name == other for other, _ in pairs) > 1)
        raise ValueError(f"{twice!r} stands in it twice")
    return value


def _finite(text: str) -> float:
    if not math.isfinite(value := float(text)):
        _refuse_constant(text)
    return value


def _whole(text: str) -> int:
    if len(text) > MOST_DIGITS:
        raise ValueError(f"{text[:10]}... is a number of {len(text)} digits")
    return int(text)


def _refuse_constant(text: str) -> NoReturn:
    raise ValueError(f"{text} is not a finite number")


def _refuse_depth(value: Any) -> None:
    level = [value]
    for _ in range(MOST_LEVELS):
        level = [
            below
            for one in level
            for below in (one.values() if isinstance(one, dict) else one)
            if isinstance(below, dict | list)
        ]
        if not level:
            return
    raise ValueError(f"nested more than {MOST_LEVELS} deep")


def refuse_links(root: Path, *places: Path) -> None:
    """Raise Damaged for a link that leads out of the folder `root`, on the way to `places` in it.

    The folder itself may be one: it is what somebody named.
    """
    home = os.path.realpath(root)
    for place in places:
        way = place.relative_to(root).parts
        for length in range(1, len(way) + 1):
            one = root.joinpath(*way[:length])
            if one.is_symlink() and not Path(os.path.realpath(one)).is_relative_to(home):
                raise Damaged(
                    f"{one} is a link out of the store, to {os.readlink(one)}; nothing is read or "
                    f"written there: move the folder back"
                )


def touch(path: Path) -> None:
    """Make a file, or give it the present time; never through a link."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    with contextlib.suppress(FileNotFoundError):
        os.utime(path, follow_symlinks=False)
        return
    os.close(os.open(path, flags, 0o666))


def write_json(path: Path, value: object, *, private: bool = False) -> None:
    """Replace `path` by `value` in one step: readers see the old file or the new one.

    A `private` file is its owner's to read, and nobody else's at any moment.
    """
    with replacing(path, path.with_name(f".{uuid.uuid4().hex}.partial")) as temporary:
        temporary.touch(0o600 if private else 0o666, exist_ok=False)
        temporary.write_text(spelled(value), encoding="utf-8")


@contextlib.contextmanager
def replacing(path: Path, temporary: Path) -> Iterator[Path]:
    """Put what the block writes to `temporary` in the place of `path`, whole and on the disk.

    Where that fails, such as on a full disk, nothing is left behind, and OSError names `path`.
    """
    try:
        yield temporary
        sync(temporary)
        os.replace(temporary, path)
    except BaseException as error:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
        if isinstance(error, OSError) and error.filename in (None, str(temporary)):
            error.filename = str(path)
        raise


def write_measured(path: Path, value: object) -> None:
    """Replace `path` like `write_json` by what was measured: a number that is not finite is null.

    A recall of a class that no example has, or the loss of a network that diverged, is a result.
    """
    write_json(path, finite(value))


def finite(value: object) -> object:
    """Return plain data with None for every number that is not finite.

    >>> finite({"a": [1.0, float("inf")], "b": float("nan")})
    {'a': [1.0, None], 'b': None}
    """
    if isinstance(value, Mapping):
        return {name: finite(one) for name, one in value.items()}
    if isinstance(value, list | tuple):
        return [finite(one) for one in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def spelled(value: object) -> str:
    """Return the one spelling of a value in the store's JSON files; ValueError for nan and inf."""
    return json.dumps(value, indent=1, sort_keys=True, allow_nan=False) + "\n"


def sync(path: Path) -> None:
    """Wait until a file or folder is on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
