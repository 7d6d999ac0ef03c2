"""Why a stage is in the store: what it was made of, when, whether it is whole, who refers to it."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from sparsekit.status import provenance
from sparsekit.status.columns import cut
from sparsekit.status.lookup import Unknown, readable_sweeps
from sparsekit.status.provenance import Made
from sparsekit.status.wording import duration, plural, size
from sparsekit.store import claims
from sparsekit.store.named import records_of
from sparsekit.store.sealing import CorruptResult, read_description
from sparsekit.sweeps.damage import damage_of
from sparsekit.sweeps.records import number_of
from sparsekit.system.files import Damaged, checksum
from sparsekit.system.printing import damage_lines

MOST_NAMES, MOST_LEVELS = 20, 200
LONG = 40


def full_key(root: Path, given: str) -> str:
    """Return the one key, published or in work, that begins with `given`; otherwise Unknown."""
    keys = {key for key, _ in provenance.stages_of(root)}
    work = root / "work"
    if work.is_dir():
        keys |= {name for name in os.listdir(work) if provenance.KEY.fullmatch(name)}
    near = [given] if given in keys else sorted(key for key in keys if key.startswith(given))
    if len(near) == 1:
        return near[0]
    if near:
        more = f" and {len(near) - 5} more" if len(near) > 5 else ""
        raise Unknown(f"{given}: several keys begin like that: {', '.join(near[:5])}{more}")
    kinds = sorted({key.partition("-")[0] for key in keys})
    raise Unknown(
        f"{given}: no such key in {root}; keys are KIND-HASH, and the kinds are "
        f"{', '.join(kinds) or 'none, for the store is empty'}"
    )


def why_page(root: Path, key: str, *, depth: int, width: int | None) -> str:
    """Explain a stage, as text."""
    folder = root / "stages" / key.partition("-")[0] / key
    if not os.path.lexists(folder):
        return "\n".join([f"{key} is not published", *_in_work(root, key)])
    stages, damaged = provenance.stages_made(root)
    stages |= {name: Made(root, (), 0.0, {}) for name in damaged}
    lines = [key, *_about(folder, key), *_in_work(root, key), "", "settings"]
    lines += [f"  {text}" for text in settings(stages[key].config)]
    lines += ["", "made of", *(_shown(line, width) for line in _tree(key, stages, depth))]
    return "\n".join([*lines, "", *_references(root, key, stages)])


def settings(config: Mapping[str, Any]) -> Iterator[str]:
    """Yield lines `name = value` for the settings of a stage, without those left out or empty.

    >>> list(settings({"a": {"_target_": "x.f", "k": 1}, "b": None, "problem": {"m": 2}}))
    ['a = f(k=1)', 'problem.m = 2']
    """
    for name, value in config.items():
        if name == "problem" and isinstance(value, Mapping):
            parts = {part: item for part, item in value.items() if part != "_target_"}
            yield from (f"problem.{part} = {_spelled(item)}" for part, item in parts.items())
        elif not _is_empty(value):
            yield f"{name} = {_spelled(value)}"


def _about(folder: Path, key: str) -> list[str]:
    try:
        body = read_description(folder, key)
    except CorruptResult as damage:
        return [f"DAMAGED: {damage}; whoever needs it computes it again"]
    made = body["provenance"]
    when = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(made["finished"]))
    took = duration(made["finished"] - made["started"])
    files = [f"  {_file(folder / name, digest)}" for name, digest in body["files"].items()]
    return [f"version {body['version']}, finished {when}, took {took}, in {folder}", *files]


def _file(path: Path, digest: str) -> str:
    try:
        verdict = "checksum holds" if checksum(path) == digest else "CHECKSUM DOES NOT HOLD"
        return f"{size(path.stat().st_size):>10}  {path.name}  {verdict}"
    except (Damaged, OSError) as error:
        said = error.strerror if isinstance(error, OSError) else error
        return f"{'':>10}  {path.name}  UNREADABLE: {said}"


def _in_work(root: Path, key: str) -> list[str]:
    place = root / "work" / key
    owners = (
        [name for name in os.listdir(place) if claims.OWNER.fullmatch(name)]
        if (place.is_dir() and not place.is_symlink())
        else []
    )
    if not owners:
        return []
    machine, pid, *_ = owners[0].split(".")
    since = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(place.stat().st_mtime))
    if machine == claims.NOBODY:
        return [f"its work was left by its owner, at {since}; whoever needs it goes on from there"]
    beat = time.time() - _mtime(place / owners[0] / claims.HEARTBEAT, place)
    lines = [f"in work by process {pid} since {since}, last heard of {duration(beat)} ago"]
    return [*lines, *_workers(root, key)]


def _mtime(file: Path, other: Path) -> float:
    return (file if os.path.lexists(file) else other).lstat().st_mtime


def _workers(root: Path, key: str) -> Iterator[str]:
    """Yield the runs whose fit this is, by their progress files."""
    for sweep in readable_sweeps(root)[0]:
        for name in sorted(sweep.names("progress")):
            member = name.removesuffix(".json")
            told = sweep.last_progress(member)
            if told and told["key"] == key:
                status = sweep.last_status(member)
                where = f"on {status.get('node')}, job {status.get('job')}"
                step = f"step {told['step']} of {told.get('last_step', '?')}"
                yield f"  run {number_of(member)} of {sweep.name}, {where}: {step}"


def _tree(key: str, stages: Mapping[str, Made], depth: int) -> list[str]:
    """Draw the stage and its inputs, theirs below them; each is shown once."""
    lines: list[str] = []
    seen: set[str] = set()
    told: set[str] = set()

    def walk(name: str, level: int) -> None:
        indent = "  " * (level + 1)
        one = stages.get(name)
        if one is None:
            lines.append(f"{indent}{name}  (not in the store)")
        elif name in seen:
            lines.append(f"{indent}{name}  (see above)")
        elif level > min(depth, MOST_LEVELS):
            return
        else:
            seen.add(name)
            lines.append(f"{indent}{name}  {_brief(one, told)}")
            for source in dict.fromkeys(one.inputs):
                walk(source, level + 1)

    walk(key, 0)
    hidden = len(provenance.ancestors([key], stages) - seen)
    return [*lines, f"  ... and {plural(hidden, 'stage')} before (--depth)"] if hidden else lines


def _brief(one: Made, told: set[str]) -> str:
    """Spell the settings of a stage in one line; long ones that were `told` only by name."""
    own = {name: value for name, value in one.config.items() if name != "problem" or not one.inputs}
    texts = list(settings(own))
    short = [t.partition(" = ")[0] + " as above" if t in told else t for t in texts]
    told.update(text for text in texts if len(text) > LONG)
    return ", ".join(text.replace(" = ", "=") for text in short)


def _references(root: Path, key: str, stages: Mapping[str, Made]) -> list[str]:
    """Say who refers to a stage, or to what was made from it."""
    offspring = provenance.descendants([key], stages)
    records, damaged = records_of(root)
    found, others = readable_sweeps(root)
    more = [*map(str, damaged), *others, *(text for one in found for text in damage_of(one))]
    names = [
        f"{file.parent.name}/{file.stem}"
        for file, record in records.items()
        if provenance.containing(offspring, record)
    ]
    sweeps = {
        f"{run['experiment']}/{run['name']}": f"  run {run['number']} of {sweep.name}"
        for sweep in found
        for run in sweep.runs
    }
    lines = [f"  {name}{sweeps.get(name, '')}" for name in names]
    made_from = f"{plural(len(offspring) - 1, 'stage')} made from it"
    head = f"referred to by {plural(len(names), 'run')}; {made_from}"
    return [head, *_first(lines), *damage_lines(list(dict.fromkeys(more)))]


def _first(lines: Sequence[str]) -> list[str]:
    more = len(lines) - MOST_NAMES
    return [*lines[:MOST_NAMES], f"  ... and {more} more"] if more > 0 else list(lines)


def _shown(line: str, width: int | None) -> str:
    return line if width is None else cut(line, width)


def _is_empty(value: Any) -> bool:
    return value is None or (isinstance(value, list | tuple | Mapping) and not value)


def _spelled(value: Any) -> str:
    if isinstance(value, Mapping):
        inner = {k: v for k, v in value.items() if k != "_target_" and not _is_empty(v)}
        arguments = ", ".join(f"{name}={_spelled(v)}" for name, v in inner.items())
        return (
            f"{str(value['_target_']).rpartition('.')[2]}({arguments})"
            if "_target_" in value
            else f"{{{arguments}}}"
        )
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(_spelled, value))}]"
    return str(value)
