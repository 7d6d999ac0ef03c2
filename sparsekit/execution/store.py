"""Content-addressed results: computed once, published whole, verified when used.

ROOT/stages/KIND/KEY/   a finished stage: its files and description.json, written last
ROOT/work/KEY/OWNER/    a stage being computed (see claims.py)
ROOT/corrupt/           what failed its checksums, kept for inspection, never used
ROOT/named/             human names that point at keys
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import logging
import os
import shutil
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from sparsekit.execution.claims import HEARTBEAT, claim, forget, heartbeat, release, resign
from sparsekit.execution.identity import Stage, canonical, key_of

log = logging.getLogger(__name__)

DESCRIPTION = "description.json"
SCRATCH = "scratch"
SESSION = os.environ.setdefault("SPARSEKIT_SESSION", uuid.uuid4().hex)
POLL_SECONDS = 0.25


class CorruptResult(RuntimeError):
    """A stored result whose files do not match their checksums."""


@dataclasses.dataclass(frozen=True)
class Store:
    """Results under `root`, safe to share between processes and machines.

    A claim whose heartbeat is older than `stale_after` seconds is taken over by whoever needs it.
    """

    root: Path
    stale_after: float = 60.0

    def ensure(self, stage: Stage, compute: Callable[[Path], None]) -> str:
        """Key of `stage`; calls `compute(work folder)` only if nobody has computed it yet.

        The work folder survives a killed process: `compute` finds in it what it had saved below
        `scratch/`, which is not part of the result. Whoever else is computing the stage is waited
        for. Raises whatever `compute` raises; the claim is then free for the next try.
        """
        while not self.has(stage.key):
            self._work.mkdir(parents=True, exist_ok=True)
            folder = claim(self._work, stage.key, stale_after=self.stale_after)
            if folder is None:
                time.sleep(POLL_SECONDS)
            elif self.path(stage.key).exists():
                release(folder)
            else:
                self._compute(stage, compute, folder)
        return stage.key

    def has(self, key: str) -> bool:
        """Is `key` published and intact? A result that fails its checksums is put aside."""
        if not self.path(key).exists():
            return False
        try:
            verify(self.path(key), key)
        except CorruptResult as damage:
            log.warning("%s; it is put aside and computed again", damage)
            self._put_aside(key)
            return False
        return True

    def path(self, key: str) -> Path:
        """Folder of a published stage."""
        return self.root / "stages" / key.split("-", 1)[0] / key

    def description(self, key: str) -> dict[str, Any]:
        """`kind`, `config`, `inputs`, `version`, `files` (checksums) and `provenance` of `key`."""
        return read_json(self.path(key) / DESCRIPTION)

    def read(self, key: str, name: str) -> Any:
        """The JSON file `name` of a published stage."""
        return read_json(self.path(key) / name)

    def keys(self, kind: str) -> Iterator[str]:
        """Published keys of one kind, sorted."""
        folder = self.root / "stages" / kind
        names = sorted(os.listdir(folder)) if folder.is_dir() else []
        return (name for name in names if not name.startswith("."))

    def ancestors(self, *keys: str) -> dict[str, dict[str, Any]]:
        """Descriptions of `keys` and of all they were made from."""
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
        path = self.root / "named" / folder / f"{name}.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        write_json(path, record)
        return path

    @property
    def _work(self) -> Path:
        return self.root / "work"

    def _compute(self, stage: Stage, compute: Callable[[Path], None], folder: Path) -> None:
        started = time.time()
        _clear(folder)
        with heartbeat(folder):
            try:
                compute(folder)
                self._publish(stage, folder, started)
            except BaseException:
                resign(folder)
                raise

    def _publish(self, stage: Stage, folder: Path, started: float) -> None:
        seal(stage, folder, started)
        target = self.path(stage.key)
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            os.rename(folder, target)
        except OSError:
            if not target.exists():
                raise
            release(folder)
        _sync(target.parent)
        forget(folder)

    def _put_aside(self, key: str) -> None:
        aside = self.root / "corrupt" / f"{key}.{uuid.uuid4().hex[:8]}"
        aside.parent.mkdir(parents=True, exist_ok=True)
        os.rename(self.path(key), aside)


def seal(stage: Stage, folder: Path, started: float) -> None:
    """Write the description, last and with the checksum of every other file, down to the disk."""
    shutil.rmtree(folder / SCRATCH, ignore_errors=True)
    (folder / HEARTBEAT).unlink(missing_ok=True)
    names = sorted(path.name for path in folder.iterdir())
    for name in names:
        _sync(folder / name)
    provenance = {"session": SESSION, "started": started, "finished": time.time()}
    body = {
        **stage.description(),
        "key": stage.key,
        "files": {name: checksum(folder / name) for name in names},
        "provenance": provenance,
    }
    body["checksum"] = hashlib.sha256(canonical(body).encode()).hexdigest()
    write_json(folder / DESCRIPTION, body)


def verify(folder: Path, key: str) -> None:
    """Raise CorruptResult unless every byte of a published stage is what was published."""
    try:
        body = read_json(folder / DESCRIPTION)
        stated = body.pop("checksum")
        intact = stated == hashlib.sha256(canonical(body).encode()).hexdigest()
        intact = intact and key_of({k: body[k] for k in _IDENTITY}) == key
        damaged = [n for n, digest in body["files"].items() if checksum(folder / n) != digest]
    except (OSError, ValueError, KeyError, AttributeError) as error:
        raise CorruptResult(f"{key}: {DESCRIPTION} or a file it lists is unreadable") from error
    if damaged or not intact:
        raise CorruptResult(f"{key}: checksum mismatch in {', '.join(damaged) or DESCRIPTION}")


_IDENTITY = ("kind", "config", "inputs", "version")


def checksum(path: Path) -> str:
    """SHA-256 of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def read_json(path: Path) -> Any:
    return json.loads(path.read_text())


def write_json(path: Path, value: object) -> None:
    """Replace `path` by `value` in one step: readers see the old file or the new one."""
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}")
    temporary.write_text(json.dumps(value, indent=1, sort_keys=True, allow_nan=False) + "\n")
    _sync(temporary)
    os.replace(temporary, path)


def _clear(folder: Path) -> None:
    # What an earlier owner left half done must not be listed as part of our result.
    for path in folder.iterdir():
        if path.name not in (SCRATCH, HEARTBEAT):
            path.unlink()
    (folder / SCRATCH).mkdir(exist_ok=True)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
