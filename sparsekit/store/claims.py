"""Who computes a stage: an exclusive, resumable, adoptable work folder on a shared file system.

A claim is a folder `work/KEY/OWNER/`. It appears by one rename, so two processes can never both
take it. OWNER says which process of which machine it is, and its owner touches `heartbeat` in it;
when the heartbeat is stale, or the owner is a dead process of this machine, another process adopts
the folder, with the checkpoints in it, by renaming OWNER to its own name. The old owner, should it
wake, finds its paths gone and publishes nothing.

On NFS a rename whose answer is lost is repeated and then fails although it has happened. So after
a rename that failed we look whether it did.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import platform
import re
import stat
import threading
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

from sparsekit.store.signatures import HEARTBEAT, is_of_another_store, sign, told_owner
from sparsekit.system.files import Damaged, touch
from sparsekit.system.folders import remove_tree

BEAT_SECONDS = 5.0
NOBODY = "nobody"
OWNER = re.compile(r"\w+\.\d+\.\w+\.\w+")
DEAD, UNKNOWN = "dead", "unknown"


def claim(work: Path, key: str, *, stale_after: float) -> Path | None:
    """Return the caller's own work folder for `key`, or None while somebody else is at work on it.

    Damaged where something lies there that is no claim, and PermissionError where this user may not
    have it: both would be waited for in vain.
    """
    place = work / key
    _refuse_foreign(place)
    mine = f"{_machine()}.{os.getpid()}.{_start_time(os.getpid())}.{uuid.uuid4().hex[:8]}"
    owners = _owners(place)
    if not owners:
        _clear(work, place)
        return _take(work, place, mine)
    return _adopt(owners[0], mine, stale_after=stale_after)


def is_held(work: Path, key: str, *, stale_after: float, now: float | None = None) -> bool:
    """Say whether somebody works on `key`, by its heartbeat and this machine's processes.

    If its owner is on another machine, the file server is asked for the time by a file that is
    written for a moment. A caller that must not write passes the time as `now` instead.
    """
    try:
        owners = _owners(work / key)
    except PermissionError:
        return True  # as far as this user can tell
    return bool(owners) and not _abandoned(owners[0], stale_after=stale_after, now=now)


def holder(work: Path, key: str) -> str:
    """Say who holds a claim, as far as it tells; empty if nobody does."""
    try:
        owners = _owners(work / key)
    except PermissionError:
        return "somebody whose files you may not read"
    return told_owner(owners[0]) if owners else ""


def age(file: Path, *, now: float | None = None) -> float:
    """Return the seconds since a file was written, by the clock of the file server, or until
    `now`."""
    return (time_of_server(file.parent) if now is None else now) - _server_time(file, create=False)


def resign(folder: Path) -> None:
    """Give up a claim but keep its folder and checkpoints for the next process that tries."""
    with contextlib.suppress(OSError):
        os.rename(folder, folder.with_name(f"{NOBODY}.0.0.{uuid.uuid4().hex[:8]}"))


def resign_all(work: Path) -> None:
    """Give up every claim in a folder of claims, whoever made it: those of a copy are not its own.

    The checkpoints in them stay, for whoever tries next.
    """
    for place in work.iterdir() if work.is_dir() else ():
        for folder in _owners(place) if _is_folder(place) else ():
            resign(folder)


def release(folder: Path) -> None:
    """Give up a claim whose result exists already."""
    remove_tree(folder)
    forget(folder)


def forget(folder: Path) -> None:
    """Remove the place of a claim whose work folder is gone."""
    with contextlib.suppress(OSError):
        folder.parent.rmdir()


@contextlib.contextmanager
def heartbeat(folder: Path) -> Iterator[None]:
    """Touch the claim's heartbeat from a thread for as long as the block runs."""
    stop = threading.Event()

    def beat() -> None:
        while not stop.wait(BEAT_SECONDS):
            with contextlib.suppress(OSError):
                os.utime(folder / HEARTBEAT, follow_symlinks=False)

    thread = threading.Thread(target=beat, daemon=True, name="sparsekit-heartbeat")
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def _take(work: Path, place: Path, mine: str) -> Path | None:
    # A prepared folder is renamed into place: rename replaces an empty folder (a leftover) but
    # fails on one that holds an owner, so there is no moment at which a claim has no owner.
    prepared = work / f".{mine}"
    try:
        (prepared / mine).mkdir(parents=True)
        sign(prepared / mine, around=work)
    except OSError:  # such as on a full disk
        remove_tree(prepared)
        raise
    failure = _rename(prepared, place)
    if (place / mine).is_dir():
        return place / mine
    remove_tree(prepared)
    if isinstance(failure, PermissionError):
        raise PermissionError(failure.errno, failure.strerror, str(place))
    return None


def _adopt(folder: Path, mine: str, *, stale_after: float) -> Path | None:
    if not _abandoned(folder, stale_after=stale_after):
        return None
    adopted = folder.with_name(mine)
    # Touched before it is renamed: nobody may see our name on a heartbeat that looks stale.
    with contextlib.suppress(OSError):
        touch(folder / HEARTBEAT)
    failure = _rename(folder, adopted)
    if adopted.is_dir():
        try:
            sign(adopted)
        except OSError:
            resign(adopted)
            raise
        return adopted
    if isinstance(failure, PermissionError):
        raise failure
    return None


def _rename(source: Path, target: Path) -> OSError | None:
    """Rename a folder; return what the system says if it fails, which on NFS it may not have."""
    try:
        os.rename(source, target)
    except OSError as error:
        return error
    return None


def _owners(place: Path) -> list[Path]:
    try:
        names = os.listdir(place)
    except PermissionError:
        raise
    except OSError:
        return []
    owners = [place / name for name in sorted(names) if OWNER.fullmatch(name)]
    return [owner for owner in owners if _is_folder(owner)]


def _refuse_foreign(place: Path) -> None:
    """Raise Damaged unless a claim can lie at `place`: links may lead anywhere."""
    if not os.path.lexists(place):
        return
    if not _is_folder(place):
        raise Damaged(f"{place} is no folder, and nothing can be claimed there: remove it")
    with contextlib.suppress(FileNotFoundError, NotADirectoryError):
        for name in os.listdir(place):
            if OWNER.fullmatch(name) and not _is_folder(place / name, if_gone=True):
                raise Damaged(f"{place / name} is no folder, and so no claim: remove it")


def _clear(work: Path, place: Path) -> None:
    """Move what is no claim out of a place without an owner: a claim is renamed onto an empty one.

    Entry by entry, so that a claim that somebody takes meanwhile is left alone.
    """
    with contextlib.suppress(OSError):
        for name in os.listdir(place):
            if not OWNER.fullmatch(name):
                os.rename(place / name, work / f".trash.{uuid.uuid4().hex[:8]}")


def _is_folder(path: Path, *, if_gone: bool = False) -> bool:
    try:
        return stat.S_ISDIR(os.lstat(path).st_mode)
    except FileNotFoundError:
        return if_gone


def _abandoned(folder: Path, *, stale_after: float, now: float | None = None) -> bool:
    machine, pid, started, _ = folder.name.split(".")
    if machine == NOBODY:
        return True
    if machine == _machine():
        born = _start_time(int(pid))
        if born != UNKNOWN:
            return born != started or is_of_another_store(folder)
    return _silence(folder, now) > stale_after


def _silence(folder: Path, now: float | None = None) -> float:
    """Return the seconds since the owner's last heartbeat, by the file server's clock or `now`."""
    # Heartbeats of other machines are stamped by the server, and our clock may be another one.
    # Opening a file makes NFS ask the server for its time stamp; `stat` may show an old one.
    try:
        last = _server_time(folder / HEARTBEAT, create=False)
    except OSError:
        # Its owner removes the heartbeat just before publishing, and may have died right there.
        try:
            last = folder.stat().st_mtime
        except OSError:
            return 0.0
    return (time_of_server(folder.parent.parent) if now is None else now) - last


def time_of_server(folder: Path) -> float:
    """Ask the file server for the time, by a file that is written for a moment; where it cannot
    be, return the time of this machine."""
    probe = folder / f".clock.{uuid.uuid4().hex[:8]}"
    try:
        return _server_time(probe, create=True)
    except OSError:
        return time.time()
    finally:
        probe.unlink(missing_ok=True)


def _server_time(path: Path, *, create: bool) -> float:
    how = os.O_RDWR | os.O_CREAT if create else os.O_RDONLY
    descriptor = os.open(path, how | os.O_NOFOLLOW | os.O_NONBLOCK, 0o644)
    try:
        return os.fstat(descriptor).st_mtime
    finally:
        os.close(descriptor)


def _machine() -> str:
    """Identify this machine, its boot, and its container if process numbers differ in that."""
    try:
        boot = _read("/proc/sys/kernel/random/boot_id")
        names = f"{boot} {os.readlink('/proc/self/ns/pid')}"
    except OSError:
        names = f"{platform.node()} {uuid.getnode()}"
    return hashlib.sha256(names.encode()).hexdigest()[:12]


def _start_time(pid: int) -> str:
    """Return the clock tick at which a living process started; DEAD if it is gone or a zombie.

    UNKNOWN for a process that tells nothing: another user's if /proc hides those, or any if there
    is no /proc. Then only heartbeats count.
    """
    try:
        fields = _read(f"/proc/{pid}/stat").rpartition(")")[2].split()
    except OSError:
        return UNKNOWN if _exists(pid) else DEAD
    return DEAD if fields[0] in ("Z", "X") else fields[19]


def _exists(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True


def _read(path: str) -> str:
    # The name of a process need not be text in any encoding.
    return Path(path).read_bytes().decode(errors="replace").strip()
