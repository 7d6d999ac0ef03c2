"""Files that a process which died has left damaged: cut, emptied, changed, or not there."""

from __future__ import annotations

import os
import re
import shutil
import signal
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from tests.faults.drawing import Draw
from tests.faults.on_jobs import Hit, picked
from tests.faults.victims import Victim
from tests.faults.world import World

SECONDS_TO_DIE = 10.0
LAST = "last.ckpt"
KEY = re.compile(r"\b[a-z]\w*-[0-9a-f]{20}\b")
DONE = '"status": "done"'


def status_cut(world: World, draw: Draw) -> Hit:
    """Cut or empty the file in which a job says what it does."""
    return _damaged(world, draw, lambda one: one.sweep.folder / "members" / f"{one.member}.json")


def progress_cut(world: World, draw: Draw) -> Hit:
    """Cut or empty the file that says how far a fit is."""
    return _damaged(world, draw, lambda one: one.sweep.progress(one.member))


def checkpoint_cut(world: World, draw: Draw) -> Hit:
    """Cut or empty the checkpoint of a fit."""
    return _damaged(world, draw, _checkpoint)


def record_cut(world: World, draw: Draw) -> Hit:
    """Cut or empty the record of a run that is not done."""
    return _damaged(world, draw, _record)


def stage_removed(world: World, draw: Draw) -> Hit:
    """Remove the folder of a result from which a run that is not done goes on."""
    return _after_death(world, draw, lambda one: _stage(one, draw), shutil.rmtree)


def stage_changed(world: World, draw: Draw) -> Hit:
    """Change a byte of a result from which a run that is not done goes on."""

    def change(stage: Path) -> None:
        file = picked(sorted(stage.iterdir()), draw)
        assert file is not None
        content = bytearray(file.read_bytes())
        content[int(draw.moment * len(content))] ^= 1
        file.write_bytes(content)

    return _after_death(world, draw, lambda one: _stage(one, draw), change)


def _damaged(world: World, draw: Draw, file_of: Callable[[Victim], Path | None]) -> Hit:
    def cut(file: Path) -> None:
        os.truncate(file, 0 if draw.moment < 0.5 else file.stat().st_size // 2)

    return _after_death(world, draw, file_of, cut)


def _after_death(
    world: World,
    draw: Draw,
    path_of: Callable[[Victim], Path | None],
    damage: Callable[[Path], None],
) -> Hit:
    """Kill a process and damage a file that it leaves, before the next one comes for it."""
    able = [(one, victim) for one, victim in world.at_work() if _is_there(path_of(victim))]
    found = picked(able, draw)
    if found is None:
        return None
    asked, victim = found
    victim.signal(signal.SIGKILL)
    deadline = time.monotonic() + SECONDS_TO_DIE
    while victim.is_there() and time.monotonic() < deadline:
        time.sleep(0.05)
    path = path_of(victim)
    if victim.is_there() or not _is_there(path) or victim.sweep.is_done(_number(victim)):
        return None
    assert path is not None
    damage(path)
    return [asked.number]


def _is_there(path: Path | None) -> bool:
    return path is not None and path.exists()


def _checkpoint(victim: Victim) -> Path | None:
    keys = KEY.findall(_text(victim.sweep.progress(victim.member)))
    work = victim.sweep.root / "work"
    return next((path for key in keys for path in work.glob(f"{key}/*/scratch/{LAST}")), None)


def _stage(victim: Victim, draw: Draw) -> Path | None:
    """Return the folder of a stage that the run of a victim needs, and no finished run has."""
    root = victim.sweep.root
    folders = {folder.name: folder for folder in root.glob("stages/*/*")}
    told = (_text(_record(victim)), _text(victim.sweep.progress(victim.member)))
    needed = _ancestors({key for text in told for key in KEY.findall(text)}, folders)
    records = (_text(file) for file in root.glob("named/*/*.json"))
    finished = {key for text in records if DONE in text for key in KEY.findall(text)}
    key = picked(sorted(needed - _ancestors(finished, folders)), draw)
    return None if key is None else folders[key]


def _ancestors(keys: Iterable[str], folders: Mapping[str, Path]) -> set[str]:
    """Return the published ones of these stages, and all that they were made from."""
    found: set[str] = set()
    pending = set(keys)
    while pending:
        found |= (new := pending & set(folders))
        texts = (_text(folders[key] / "description.json") for key in new)
        pending = {key for text in texts for key in KEY.findall(text)} - found
    return found


def _record(victim: Victim) -> Path:
    run = victim.sweep.runs[_number(victim)]
    return victim.sweep.root / "named" / run["experiment"] / f"{run['name']}.json"


def _number(victim: Victim) -> int:
    return int(victim.member.partition(".")[0])


def _text(file: Path) -> str:
    """Return what a file says; nothing where it is not there, for any of these may be damaged."""
    try:
        return file.read_bytes().decode(errors="replace")
    except OSError:
        return ""
