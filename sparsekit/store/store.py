"""Content-addressed results: computed once, published whole, verified when used.

stages/KIND/KEY/   a finished stage: its files and description.json, written last
work/KEY/OWNER/    a stage being computed (see claims.py)
corrupt/           what failed its checksums, kept for inspection, never used
named/             human names that point at keys
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import logging
import math
import os
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from sparsekit.store.aside import put_aside, write_over
from sparsekit.store.claims import (
    HEARTBEAT,
    claim,
    forget,
    heartbeat,
    holder,
    is_held,
    release,
    resign,
)
from sparsekit.store.identity import Stage
from sparsekit.store.named import NAMED, read_record
from sparsekit.store.schemas import file_name, path_below
from sparsekit.store.sealing import SCRATCH, CorruptResult, json_of, read_description, seal, verify
from sparsekit.system import interruption
from sparsekit.system.files import (
    MOST_BYTES,
    MOST_BYTES_OF_TENSORS,
    Damaged,
    read_bytes,
    refuse_links,
    sync,
)
from sparsekit.system.folders import remove_tree, walked
from sparsekit.system.printing import printable

log = logging.getLogger(__name__)

FIRST_POLL, LAST_POLL = 0.05, 2.0
MAX_ATTEMPTS = 3


class Busy(BaseException):
    """Another process is computing `key`; the caller should not wait.

    Not an error, and so not an Exception: code that catches errors must not catch it.
    """

    def __init__(self, key: str) -> None:
        super().__init__(key)
        self.key = key

    def __str__(self) -> str:
        return f"{self.key} is being computed by another process"


@dataclasses.dataclass(frozen=True)
class Store:
    """Results under `root`, safe to share between processes and machines.

    A claim whose heartbeat is older than `stale_after` seconds is taken over by the next process
    that needs it. A stage that another process computes is waited for, for `patience` seconds.
    """

    root: Path
    stale_after: float = 60.0
    patience: float = math.inf

    def ensure(self, stage: Stage, compute: Callable[[Path], None]) -> str:
        """Return the key of `stage`; call `compute(work folder)` only if it is not yet computed.

        The work folder survives a killed process: `compute` finds in it what it had saved below
        `scratch/`, which is not part of the result. If another process computes the stage, it is
        waited for, up to the store's patience; then Busy is raised. Raises whatever `compute`
        raises; the claim is then free for the next attempt. A process whose claim was taken over,
        because it seemed dead, waits for the result of the other one. A process that was asked to
        end computes nothing more: Stopped.
        """
        pause, attempts = FIRST_POLL, 0
        deadline = time.monotonic() + self.patience
        while not self.has(stage.key):
            if attempts == MAX_ATTEMPTS:
                raise CorruptResult(f"{stage.key} failed its checksums {attempts} times in a row")
            interruption.check()
            self._made(self._work)
            folder = claim(self._work, stage.key, stale_after=self.stale_after)
            if folder is None and time.monotonic() > deadline:
                raise Busy(stage.key)
            if folder is None:
                pause = _wait(self._work, stage.key, pause)
            elif self._is_published(stage.key):
                release(folder)
            else:
                self._compute(stage, compute, folder)
                attempts += 1
        return stage.key

    def has(self, key: str) -> bool:
        """Say whether `key` is published and intact; put aside what fails its checksums.

        Damaged where a link leads out of the store on the way to it.
        """
        refuse_links(self.root, self.path(key).parent)
        if not os.path.lexists(self.path(key)):
            return False
        try:
            verify(self.path(key), key)
        except CorruptResult as damage:
            log.warning("%s", printable(f"{damage}; it is put aside and computed again"))
            self._put_aside(key)
            return False
        return True

    def is_in_work(self, key: str) -> bool:
        """Say whether somebody computes `key` and has not published it yet."""
        held = is_held(self._work, key, stale_after=self.stale_after)
        return held and not self.path(key).exists()

    def path(self, key: str) -> Path:
        """Return the folder of a published stage; ValueError for what is none."""
        file_name(key, "a key")
        return self.root / "stages" / key.split("-", 1)[0] / key

    def description(self, key: str) -> dict[str, Any]:
        """Read kind, config, inputs, version, checksums (`files`) and provenance of `key`.

        Raises CorruptResult unless it is what was published.
        """
        refuse_links(self.root, self.path(key).parent)
        if not os.path.lexists(self.path(key)):
            raise FileNotFoundError(f"{key} is not in the store {self.root}")
        return read_description(self.path(key), key)

    def content(self, key: str, name: str) -> bytes:
        """Read the file `name` of a published stage, and verify it.

        Raises CorruptResult for a file that is not what was published: a stage may be damaged after
        `ensure` has verified it. The next `ensure` computes it again.
        """
        digest = self.description(key)["files"].get(name)
        if digest is None:
            raise FileNotFoundError(f"{key} has no file {name!r}")
        try:
            most = MOST_BYTES if name.endswith(".json") else MOST_BYTES_OF_TENSORS
            found = read_bytes(self.path(key) / name, most=most)
        except FileNotFoundError as error:
            raise CorruptResult(f"{key}: {name} is missing") from error
        except Damaged as error:
            raise CorruptResult(f"{key}: {error}") from error
        if hashlib.sha256(found).hexdigest() != digest:
            raise CorruptResult(f"{key}: checksum mismatch in {name}")
        return found

    def read(self, key: str, name: str) -> Any:
        """Return the JSON file `name` of a published stage, verified like `content`.

        CorruptResult also for one that was sealed, but is not what such a file holds.
        """
        return json_of(self.content(key, name), key, name)

    def keys(self, kind: str) -> Iterator[str]:
        """Yield the published keys of one kind, sorted."""
        folder = self.root / "stages" / kind
        names = sorted(os.listdir(folder)) if folder.is_dir() else []
        return (name for name in names if not name.startswith("."))

    def kinds(self) -> Iterator[str]:
        """Yield the kinds of published stages, sorted, including those that are unknown here."""
        folder = self.root / "stages"
        names = sorted(os.listdir(folder)) if folder.is_dir() else []
        return (name for name in names if not name.startswith("."))

    def ancestors(self, *keys: str) -> dict[str, dict[str, Any]]:
        """Return the descriptions of `keys` and of all they were made from."""
        found: dict[str, dict[str, Any]] = {}
        pending = list(keys)
        while pending:
            key = pending.pop()
            if key not in found:
                found[key] = self.description(key)
                pending.extend(found[key]["inputs"])
        return found

    def name(self, folder: str, name: str, record: Mapping[str, Any]) -> Path:
        """Let a human name point at keys: `named/FOLDER/NAME.json`, replaced in one step."""
        path = self.record(folder, name)
        write_over(self.root, path, record, read_record)
        return path

    def record(self, folder: str, name: str) -> Path:
        """Return the file of a human name; ValueError for one that would leave its folder."""
        path_below(f"{folder}/{name}", "the name of a record")
        return self.root / NAMED / folder / f"{name}.json"

    def _made(self, folder: Path) -> Path:
        """Make a folder of the store; Damaged where that would be out of it."""
        refuse_links(self.root, folder)
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    @property
    def _work(self) -> Path:
        return self.root / "work"

    def _is_published(self, key: str) -> bool:
        # Listed, not asked for by name: NFS may remember for a while that a name was not there.
        folder = self.path(key).parent
        return folder.is_dir() and key in os.listdir(folder)

    def _compute(self, stage: Stage, compute: Callable[[Path], None], folder: Path) -> None:
        started = time.time()
        try:
            _prepare(folder)
            with heartbeat(folder):
                compute(folder)
                self._publish(stage, folder, started)
        except BaseException as error:
            if isinstance(error, Exception) and not folder.exists():
                log.warning("%s: this process seemed dead and was replaced (%s)", stage.key, error)
                return
            resign(folder)
            raise

    def _publish(self, stage: Stage, folder: Path, started: float) -> None:
        seal(stage, folder, started)
        target = self.path(stage.key)
        self._made(target.parent)
        try:
            os.rename(folder, target)
        except OSError:
            if not self._is_published(stage.key):
                raise
            release(folder)
        sync(target.parent)
        forget(folder)

    def _put_aside(self, key: str) -> None:
        with contextlib.suppress(FileNotFoundError):
            self._bring_back(key, put_aside(self.root, self.path(key)))

    def _bring_back(self, key: str, aside: Path) -> None:
        # Others may have put the damaged stage aside and published it anew since we looked.
        try:
            verify(aside, key)
        except CorruptResult:
            return
        with contextlib.suppress(OSError):
            os.rename(aside, self.path(key))


def _wait(work: Path, key: str, pause: float) -> float:
    """Sleep, and return how long to sleep next time; mention once that this takes longer."""
    time.sleep(pause)
    if pause < LAST_POLL <= 1.5 * pause:
        who = printable(holder(work, key)) or "another process"
        log.warning("%s is being computed by %s; waiting for it", key, who)
    return min(1.5 * pause, LAST_POLL)


def _prepare(folder: Path) -> None:
    """Keep of an adopted work folder what is below scratch/, in files of our own.

    A former owner that is only suspended may still hold files open; it must not write into ours.
    """
    for path in folder.iterdir():
        is_folder = path.is_dir() and not path.is_symlink()
        if is_folder and path.name != SCRATCH:
            remove_tree(path)
        elif not is_folder and path.name != HEARTBEAT:
            path.unlink()
    (folder / SCRATCH).mkdir(exist_ok=True)
    for place, folders, names in walked(folder / SCRATCH):
        for path in (Path(place, name) for name in (*folders, *names)):
            if not (path.is_file() or path.is_dir()) or path.is_symlink():
                path.unlink()
            elif path.is_file():
                _copied(path, folder / f".copy.{path.name}")


def _copied(path: Path, copy: Path) -> None:
    """Replace a file by a copy of itself."""
    shutil.copyfile(path, copy)
    sync(copy)
    os.replace(copy, path)
