"""Whose sweep it is: acting on one imports and calls what its configuration names.

A sweep that this user froze in this store is trusted. One whose files belong to another user, or
that has no seal of this user, such as one that was copied here, unpacked or changed, is acted upon
only when somebody says so.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from sparsekit.store.identity import canonical
from sparsekit.sweeps.freezing import is_sealed
from sparsekit.sweeps.private import SALT, NotReadable, private_of
from sparsekit.sweeps.records import FROZEN, Sweep
from sparsekit.system.folders import walked
from sparsekit.system.secrets import masked_text
from sparsekit.system.users import name_of

OWN = "sparsekit."
CODE = "code"
OF_A_SHELL = ("setup", "python", "srun")


class Untrusted(ValueError):
    """A sweep of somebody else, as far as can be told; says whose, and what it would call."""


def refuse_untrusted(sweep: Sweep) -> None:
    """Raise Untrusted for a sweep that is not, or not certainly, this user's own."""
    reason = _reason(sweep)
    if reason is not None:
        raise Untrusted(f"{sweep.name}: {reason}; it {consequences(sweep)}")


def consequences(sweep: Sweep) -> str:
    """Say what starting runs of a sweep imports and calls."""
    whole = _readable(sweep)
    targets = dict.fromkeys(_targets([whole["cluster"], *_configs(whole)]))
    others = [name for name in targets if not name.startswith(OWN)]
    num_own = len(targets) - len(others)
    own = f"{num_own} function{'s' * (num_own > 1)} of sparsekit" if num_own else ""
    said = [f"imports and calls {', '.join(filter(None, [*others, own]))}"]
    lines = [whole["cluster"][name] for name in OF_A_SHELL if name in whole["cluster"]]
    said += [f"runs in a shell {masked_text(line)!r}" for line in _texts(lines)]
    snapshot = snapshot_of(sweep)
    said += [f"runs the code in {snapshot}"] if snapshot else []
    return ", ".join(said)


def code_digest(sweep: Sweep) -> str:
    """Return a digest of all in a sweep that names code, for what waits to be run later."""
    whole = _readable(sweep)
    snapshot = whole.get("code", {}).get("snapshot")
    named = [whole["cluster"], whole.get(SALT), snapshot, *_configs(whole)]
    return hashlib.sha256(canonical(named).encode()).hexdigest()


def refuse_changed(sweep: Sweep, digest: str) -> None:
    """Raise Untrusted where what a sweep names is not what it was, unless this user changed it."""
    if code_digest(sweep) != digest:
        reason = _reason(sweep)
        if reason is not None:
            raise Untrusted(f"{sweep.name} was changed since this was submitted: {reason}")


def _reason(sweep: Sweep) -> str | None:
    foreign = _foreign(_decisive(sweep))
    if foreign is not None:
        return f"its files belong to {name_of(foreign)}"
    if not is_sealed(sweep):
        return (
            "it has no seal of yours, so it was copied here, changed, or made by an older release"
        )
    foreign = _foreign(_files(snapshot_of(sweep)))
    return None if foreign is None else f"files of its snapshot belong to {name_of(foreign)}"


def snapshot_of(sweep: Sweep) -> Path | None:
    """Return the folder of the code that a sweep is run from, wherever the store lies now; None for
    the code that is installed.

    By its name alone: what was written down is where it was when the sweep was frozen.
    """
    place = sweep.frozen.get("code", {}).get("snapshot")
    return sweep.folder.absolute() / CODE / Path(place).name if place else None


def _foreign(paths: Iterable[Path]) -> int | None:
    """Return the first owner of any of these paths that is not this user; None for none."""
    owners = (os.lstat(path).st_uid for path in paths if os.path.lexists(path))
    return next((owner for owner in owners if owner != os.geteuid()), None)


def _decisive(sweep: Sweep) -> list[Path]:
    """Return what decides what is run, but for the code."""
    above = [sweep.folder] if sweep.file.name == FROZEN else []
    return [*above, sweep.file, private_of(sweep.file)]


def _files(folder: Path | None) -> Iterator[Path]:
    for place, _, names in walked(folder) if folder is not None else ():
        yield from (Path(place), *(Path(place, name) for name in names))


def _readable(sweep: Sweep) -> Mapping[str, Any]:
    """Return a sweep with what is hidden of it, where this user may read that."""
    try:
        return sweep.whole
    except NotReadable:
        return sweep.frozen


def _configs(content: Mapping[str, Any]) -> list[Any]:
    return [run["config"] for run in content["runs"]]


def _targets(value: Any) -> Iterator[str]:
    """Yield all import paths in a configuration."""
    if isinstance(value, Mapping):
        if "_target_" in value:
            yield str(value["_target_"])
        for one in value.values():
            yield from _targets(one)
    elif isinstance(value, list | tuple):
        for one in value:
            yield from _targets(one)


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, list | tuple):
        for one in value:
            yield from _texts(one)
    elif value is not None:
        yield str(value)
