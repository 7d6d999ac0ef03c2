"""The part of a sweep that only its user may read: keys, passwords, the shell lines of jobs.

STORE/sweeps/NAME/private.json holds, as a whole, every setting of which sweep.json shows a mask,
and private.UID.json those of sweep.UID.json. A random text beside them keeps digests of a sweep
from telling whether a guess is right.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sparsekit.store.published import CLUSTER, published
from sparsekit.sweeps import schemas
from sparsekit.system.files import read_json, write_json
from sparsekit.system.secrets import MASKED

SALT, RUNS, CONFIG = "salt", "runs", "config"


class NotReadable(ValueError):
    """What is hidden of a sweep is not there, or not for this user to read."""


def taken_apart(content: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return what is to be frozen as others may see it, and what that hides; empty for nothing."""
    place = {CLUSTER: content.get(CLUSTER, {})}
    public_place = published(place)
    hidden = _differing(place, public_place)
    runs, by_run = [], {}
    for number, run in enumerate(content[RUNS]):
        config = published(run.get(CONFIG, {}))
        settings = _differing(run.get(CONFIG, {}), config)
        settings.pop(CLUSTER, None)  # all runs have the same, which is kept once
        runs.append({**run, CONFIG: config})
        if settings:
            by_run[str(number)] = settings
    public = {**content, **public_place, RUNS: runs}
    if not hidden and not by_run:
        return dict(content), {}
    return public, {**hidden, RUNS: by_run, SALT: secrets.token_hex(16)}


def private_of(file: Path) -> Path:
    """Return where what is masked in a file of a sweep stands."""
    return file.with_name(file.name.replace("sweep", "private", 1))


def write_private(file: Path, hidden: Mapping[str, Any]) -> None:
    """Keep what a sweep's `file` hides where only this user can read it."""
    if hidden:
        write_json(private_of(file), hidden, private=True)
    else:
        private_of(file).unlink(missing_ok=True)


def put_together(file: Path, public: Mapping[str, Any]) -> dict[str, Any]:
    """Return what was frozen in a file, with what it hides; NotReadable where that is not there."""
    if not _has_mask([public.get(CLUSTER), [run.get(CONFIG) for run in public[RUNS]]]):
        return dict(public)
    hidden = _hidden(private_of(file))
    cluster = hidden.get(CLUSTER, public[CLUSTER])
    runs = []
    for number, run in enumerate(public[RUNS]):
        config = {**run[CONFIG], **hidden[RUNS].get(str(number), {})}
        whole = {**config, CLUSTER: cluster} if CLUSTER in config else config
        runs.append({**run, CONFIG: whole})
    return {**public, CLUSTER: cluster, RUNS: runs, SALT: hidden.get(SALT)}


def _differing(whole: Mapping[str, Any], public: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in whole.items() if value != public[name]}


def _has_mask(node: Any) -> bool:
    if isinstance(node, Mapping):
        return any(map(_has_mask, node.values()))
    if isinstance(node, list):
        return any(map(_has_mask, node))
    return isinstance(node, str) and MASKED.search(node) is not None


def _hidden(file: Path) -> dict[str, Any]:
    try:
        hidden: dict[str, Any] = read_json(file)
        schemas.private(hidden, "")
    except (OSError, ValueError) as error:
        raise NotReadable(
            f"what is masked of {file.parent.name} stands in {file}, which cannot be read "
            f"({error}); start the sweep again by its command"
        ) from error
    return hidden
