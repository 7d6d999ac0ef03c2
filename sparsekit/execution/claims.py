"""Who computes a stage: an exclusive, resumable, adoptable work folder on a shared file system.

A claim is a folder `work/KEY/OWNER/`. It appears by one rename, so two processes can never both
take it. OWNER says which process of which machine it is, and its owner touches `heartbeat` in it;
when the heartbeat is stale, or the owner is a dead process of this machine, another process adopts
the folder, with the checkpoints in it, by renaming OWNER to its own name. The old owner, should it
wake, finds its paths gone and publishes nothing.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import threading
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

HEARTBEAT = "heartbeat"
BEAT_SECONDS = 5.0
NOBODY = "nobody"


def claim(work: Path, key: str, *, stale_after: float) -> Path | None:
    """The caller's own work folder for `key`, or None while somebody else is at work on it."""
    place = work / key
    mine = f"{_machine()}.{os.getpid()}.{_start_time(os.getpid())}.{uuid.uuid4().hex[:8]}"
    return _take(work, place, mine) or _adopt(place, mine, stale_after=stale_after)


def resign(folder: Path) -> None:
    """Give up a claim but keep the folder, with its checkpoints, for whoever tries next."""
    with contextlib.suppress(OSError):
        os.rename(folder, folder.with_name(f"{NOBODY}.0.0.{uuid.uuid4().hex[:8]}"))


def release(folder: Path) -> None:
    """Give up a claim whose result exists already."""
    shutil.rmtree(folder, ignore_errors=True)
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
                os.utime(folder / HEARTBEAT)

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
    (prepared / mine).mkdir(parents=True)
    (prepared / mine / HEARTBEAT).touch()
    try:
        os.rename(prepared, place)
    except OSError:
        shutil.rmtree(prepared, ignore_errors=True)
        return None
    return place / mine


def _adopt(place: Path, mine: str, *, stale_after: float) -> Path | None:
    for folder in _owners(place):
        if not _abandoned(folder, stale_after=stale_after):
            return None
        # Touched before it is renamed: nobody may see our name on a heartbeat that looks stale.
        try:
            (folder / HEARTBEAT).touch()
            os.rename(folder, place / mine)
        except OSError:
            return None
        return place / mine
    return None


def _owners(place: Path) -> list[Path]:
    try:
        return sorted(place.iterdir())
    except OSError:
        return []


def _abandoned(folder: Path, *, stale_after: float) -> bool:
    machine, pid, started, _ = folder.name.split(".")
    if machine == NOBODY:
        return True
    if machine == _machine():
        return _start_time(int(pid)) != started
    try:
        return _now(folder.parent.parent) - _last_sign(folder) > stale_after
    except OSError:
        return False


def _last_sign(folder: Path) -> float:
    # The heartbeat is taken out of a folder just before it is published.
    try:
        return (folder / HEARTBEAT).stat().st_mtime
    except FileNotFoundError:
        return folder.stat().st_mtime


def _now(folder: Path) -> float:
    # The file server's clock, not ours: heartbeats of other machines are stamped by it.
    probe = folder / f".clock.{uuid.uuid4().hex[:8]}"
    try:
        probe.touch()
        return probe.stat().st_mtime
    except OSError:
        return time.time()
    finally:
        probe.unlink(missing_ok=True)


def _machine() -> str:
    """Tells apart machines, their boots, and containers whose process numbers differ."""
    try:
        boot = _read("/proc/sys/kernel/random/boot_id")
        names = f"{boot} {os.readlink('/proc/self/ns/pid')}"
    except OSError:
        names = f"{uuid.getnode()}"
    return hashlib.sha256(names.encode()).hexdigest()[:12]


def _start_time(pid: int) -> str:
    """Clock tick at which a living process started, "dead" for one that is gone or a zombie."""
    try:
        fields = _read(f"/proc/{pid}/stat").rpartition(")")[2].split()
    except OSError:
        return "dead"
    return "dead" if fields[0] in ("Z", "X") else fields[19]


def _read(path: str) -> str:
    return Path(path).read_text().strip()
