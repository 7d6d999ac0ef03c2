"""What a store holds that nothing refers to: found, listed, and deleted only when asked.

A stage stays if a record or a sweep names it, if it was made lately, if what stays was made from
it, if it compares what stays, or if it was made from the initial weights of a run that is not
finished: that run goes on from it, although no record names it yet. All stages and all work stay
while a file cannot be read that may name them: a record, a sweep, or the description of a stage
that stays.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import re
import time
import uuid
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from sparsekit.status import provenance
from sparsekit.status.lookup import readable_sweeps
from sparsekit.status.provenance import Made, folder_size
from sparsekit.status.wording import plural, size
from sparsekit.store import claims
from sparsekit.store.aside import CORRUPT
from sparsekit.store.identity import canonical
from sparsekit.store.named import NAMED, records_of
from sparsekit.store.place import STORE
from sparsekit.store.references import STAGES
from sparsekit.sweeps.damage import damage_of
from sparsekit.sweeps.records import FOLDER as SWEEPS
from sparsekit.system.files import refuse_links
from sparsekit.system.folders import remove_tree, walked

WORK, TRASH = "work", ".trash."
FOLDERS = (STAGES, WORK, CORRUPT, NAMED, SWEEPS)
OF_OTHERS = ("code",)
TEMPORARY = re.compile(r"\..+\.([0-9a-f]{8}|new|partial(\.\w+)?)")
UNNAMED = "nothing refers to it"
STAYS = "stages and work stay as long as a file is damaged that may name them"
STALE_SECONDS = 300.0
DAY = 86400.0
PARTS_OF_INIT = ("model", "data", "prunable")


@dataclasses.dataclass(frozen=True)
class Garbage:
    """A folder or file that nothing needs: why, and its bytes."""

    path: Path
    why: str
    num_bytes: int


@dataclasses.dataclass(frozen=True)
class Findings:
    """The garbage of a store; which files are damaged; whether stages stay because of those."""

    garbage: Sequence[Garbage]
    damaged: Sequence[str]
    is_blocked: bool


def find_garbage(root: Path, *, days: float, now: float | None = None) -> Findings:
    """Find all garbage of a store older than `days`; Damaged for a folder that leads out of it.

    `now`: by the clock of the file server, for a caller who deletes; this machine's may be ahead.
    """
    now = time.time() if now is None else now
    before = now - days * DAY
    refuse_links(root, *(root / name for name in FOLDERS))
    records, damaged_records = records_of(root)
    stages, damaged_stages = provenance.stages_made(root)
    sweeps, damaged_sweeps = readable_sweeps(root)
    unfinished = [record for record in records.values() if record["status"] != "done"]
    kept, needed = _kept(root, stages, unfinished, before)
    blocking = [*map(str, damaged_records), *damaged_sweeps]
    blocking += [text for key, text in damaged_stages.items() if key in needed]
    found: list[tuple[Path, str]] = []
    if not blocking:
        found += [(one.folder, UNNAMED) for key, one in stages.items() if key not in kept]
        lost = (root / STAGES / key.partition("-")[0] / key for key in damaged_stages)
        found += [(path, f"{UNNAMED}, and damaged") for path in lost if _age(path) < before]
        published = {*stages, *damaged_stages}
        found += _work(root, published, before, now, any_left=bool(unfinished))
    found += _left(root, before)
    told = [text for sweep in sweeps for text in damage_of(sweep)]
    others = [text for text in (*told, *damaged_stages.values()) if text not in blocking]
    return Findings(
        [Garbage(path, why, folder_size(path)) for path, why in found],
        list(dict.fromkeys([*blocking, *others])),
        is_blocked=bool(blocking),
    )


def _left(root: Path, before: float) -> Iterator[tuple[Path, str]]:
    """Yield what was put aside, what was being deleted, and what killed writers left."""
    for path in _entries(root / CORRUPT):
        if _age(path) < before:
            yield path, "damaged, and put aside"
    for place in (root, root / WORK):
        for path in _entries(place):
            if path.name.startswith(TRASH) and _age(path) < before:
                yield path, "was being deleted"
    for path in _temporaries(root):
        if _age(path) < before:
            yield path, "left by a writer that was killed"


def _temporaries(root: Path) -> Iterator[Path]:
    """Yield files and folders that would have been renamed when they were whole."""
    yield from root.glob(f".{STORE}.*")
    for top in (root / NAMED, root / SWEEPS):
        for place, folders, names in walked(top):
            yield from (Path(place, n) for n in (*folders, *names) if TEMPORARY.fullmatch(n))
            # What belongs to others lies in there: code of the user's, and files of SLURM.
            folders[:] = [n for n in folders if not n.startswith(".") and n not in OF_OTHERS]


def page(findings: Findings, root: Path, *, deleted: bool, again: str) -> str:
    """List garbage, one line each, and the sum; `again` is the command that deletes."""
    found = findings.garbage
    lines = [f"damaged: {text}" for text in findings.damaged]
    lines += [STAYS] if findings.is_blocked else []
    lines += [
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
        refuse_links(root, one.path.parent, trash.parent)
        trash.parent.mkdir(exist_ok=True)
        with contextlib.suppress(FileNotFoundError):
            os.rename(one.path, trash)
        if trash.is_dir() and not trash.is_symlink():
            remove_tree(trash)
        else:
            trash.unlink(missing_ok=True)
        if one.path.parent.parent == root / WORK:
            with contextlib.suppress(OSError):
                one.path.parent.rmdir()


def _kept(
    root: Path, stages: Mapping[str, Made], unfinished: Sequence[Mapping[str, Any]], before: float
) -> tuple[set[str], set[str]]:
    """Return the stages that stay, and all keys that those and the records name."""
    named = provenance.mentioned(root)
    young = {key for key, one in stages.items() if one.finished >= before}
    began = [key for key, one in stages.items() if any(_begins(one, r) for r in unfinished)]
    kept = provenance.ancestors(named | young | provenance.descendants(began, stages), stages)
    # No record names a comparison of several tickets: it stays while all of them do.
    kept |= {
        key
        for key, one in stages.items()
        if key.startswith("comparison-") and one.inputs and kept.issuperset(one.inputs)
    }
    return kept, named.union(*(stages[key].inputs for key in kept))


def _begins(stage: Made, record: Mapping[str, Any]) -> bool:
    """Say whether these are the initial weights that a run begins with, by its record."""
    problem, asked = stage.config.get("problem"), record.get("config", {})
    if stage.inputs or not isinstance(problem, Mapping):
        return False
    if stage.config.get("seed") != record["seed"]:
        return False
    return all(_covers(problem.get(part), asked.get(part)) for part in PARTS_OF_INIT)


def _covers(whole: Any, given: Any) -> bool:
    """Say whether a description, defaults included, has all that was asked for."""
    if isinstance(given, Mapping):
        return isinstance(whole, Mapping) and all(
            _covers(whole.get(k), v) for k, v in given.items()
        )
    return canonical(whole) == canonical(given)


def _work(
    root: Path, published: Collection[str], before: float, now: float, *, any_left: bool
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
        elif not claims.is_held(root / WORK, place.name, stale_after=STALE_SECONDS, now=now):
            if place.name in published:
                yield place, "work on a stage that is published"
            elif not any_left:
                yield place, "abandoned work"


def _newest(place: Path) -> float:
    files = (os.path.join(folder, name) for folder, _, names in walked(place) for name in names)
    with contextlib.suppress(FileNotFoundError):
        return max([place.lstat().st_mtime, *(os.lstat(file).st_mtime for file in files)])
    return time.time()


def _entries(place: Path) -> list[Path]:
    return sorted(place.iterdir()) if place.is_dir() else []


def _age(path: Path) -> float:
    # Renaming a folder changes its inode, and not its contents.
    return path.lstat().st_ctime
