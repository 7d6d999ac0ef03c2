"""What a store holds that nothing refers to: found, listed, and deleted only when asked.

A stage stays if a record or a sweep names it, if it was made lately, if what stays was made from
it, or if it was made from the initial weights of a run that is not finished: that run goes on from
it, although no record names it yet. Nothing is found while a record cannot be read.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import shutil
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from sparsekit.status import provenance
from sparsekit.status.provenance import Made, folder_size
from sparsekit.status.wording import plural, size
from sparsekit.store import claims
from sparsekit.store.identity import canonical

WORK, CORRUPT, TRASH = "work", "corrupt", ".trash."
STALE_SECONDS = 300.0
DAY = 86400.0
PARTS_OF_INIT = ("model", "data", "prunable")


@dataclasses.dataclass(frozen=True)
class Garbage:
    """A folder or file that nothing needs: why, and its bytes."""

    path: Path
    why: str
    num_bytes: int


def find_garbage(root: Path, *, days: float) -> list[Garbage]:
    """Find all garbage of a store older than `days`; Unreadable if a record or stage is."""
    before = time.time() - days * DAY
    records = provenance.records(root)
    stages = {key: provenance.made(folder) for key, folder in provenance.stages_of(root)}
    unfinished = [record for record in records.values() if record["status"] != "done"]
    kept = _kept(root, stages, unfinished, before)
    found = [(one.folder, "nothing refers to it") for key, one in stages.items() if key not in kept]
    found += _work(
        root, stages, before, named=provenance.mentioned(root), any_left=bool(unfinished)
    )
    found += [(p, "failed its checksums") for p in _entries(root / CORRUPT) if _age(p) < before]
    for place in (root, root / WORK):
        trash = (path for path in _entries(place) if path.name.startswith(TRASH))
        found += [(path, "was being deleted") for path in trash if _age(path) < before]
    return [Garbage(path, why, folder_size(path)) for path, why in found]


def page(found: Sequence[Garbage], root: Path, *, deleted: bool, again: str) -> str:
    """List garbage, one line each, and the sum; `again` is the command that deletes."""
    lines = [
        f"{size(one.num_bytes):>10}  {one.path.relative_to(root)}  ({one.why})" for one in found
    ]
    total = f"{plural(len(found), 'piece')} of garbage, {size(sum(o.num_bytes for o in found))}"
    if deleted:
        return "\n".join([*lines, f"deleted {total}"])
    return "\n".join([*lines, f"{total}; delete: {again}" if found else f"{total} in {root}"])


def delete(found: Sequence[Garbage], root: Path) -> None:
    """Delete garbage; each piece is first renamed, so that nothing is ever half there."""
    for one in found:
        trash = root / WORK / f"{TRASH}{uuid.uuid4().hex[:8]}"
        trash.parent.mkdir(exist_ok=True)
        with contextlib.suppress(FileNotFoundError):
            os.rename(one.path, trash)
        if trash.is_dir():
            shutil.rmtree(trash, ignore_errors=True)
        else:
            trash.unlink(missing_ok=True)
        if one.path.parent.parent == root / WORK:
            with contextlib.suppress(OSError):
                one.path.parent.rmdir()


def _kept(
    root: Path, stages: Mapping[str, Made], unfinished: Sequence[Mapping[str, Any]], before: float
) -> set[str]:
    named = provenance.mentioned(root)
    young = {key for key, one in stages.items() if one.finished >= before}
    began = [key for key, one in stages.items() if any(_begins(one, r) for r in unfinished)]
    return provenance.ancestors(named | young | provenance.descendants(began, stages), stages)


def _begins(stage: Made, record: Mapping[str, Any]) -> bool:
    """Say whether these are the initial weights that a run begins with, by its record."""
    config = stage.config
    if stage.inputs or "problem" not in config or config.get("seed") != record["seed"]:
        return False
    return all(
        _covers(config["problem"].get(part), record["config"].get(part)) for part in PARTS_OF_INIT
    )


def _covers(whole: Any, given: Any) -> bool:
    """Say whether a description, defaults included, has all that was asked for."""
    if isinstance(given, Mapping):
        return isinstance(whole, Mapping) and all(
            _covers(whole.get(k), v) for k, v in given.items()
        )
    return canonical(whole) == canonical(given)


def _work(
    root: Path, stages: Mapping[str, Made], before: float, *, named: set[str], any_left: bool
) -> Iterator[tuple[Path, str]]:
    """Yield work folders that no process is working on, each with the reason.

    A stage that is not published may hold the checkpoint from which an unfinished run goes on, so
    it stays while there is such a run.
    """
    for place in _entries(root / WORK):
        if place.name.startswith(TRASH) or _newest(place) >= before:
            continue
        if place.name.startswith("."):
            yield place, "left by a process that died"
        elif not _is_held(root, place.name):
            if place.name in stages:
                yield place, "work on a stage that is published"
            elif not any_left:
                yield place, "abandoned work"


def _is_held(root: Path, key: str) -> bool:
    return claims.is_held(root / WORK, key, stale_after=STALE_SECONDS, now=time.time())


def _newest(place: Path) -> float:
    files = (os.path.join(folder, name) for folder, _, names in os.walk(place) for name in names)
    with contextlib.suppress(FileNotFoundError):
        return max([place.stat().st_mtime, *(os.stat(file).st_mtime for file in files)])
    return time.time()


def _entries(place: Path) -> list[Path]:
    return sorted(place.iterdir()) if place.is_dir() else []


def _age(path: Path) -> float:
    # Renaming a folder changes its inode, and not its contents.
    return path.stat().st_ctime
