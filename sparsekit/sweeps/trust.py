"""Whose sweep it is: acting on one imports and calls what its configuration names.

A sweep that this user froze in this store is trusted. One whose files belong to another user, or
that has no seal of this user, such as one that was copied here, unpacked or changed, is acted upon
only when somebody says so.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from sparsekit.store.identity import canonical
from sparsekit.sweeps.freezing import is_sealed
from sparsekit.sweeps.private import SALT, NotReadable, private_of
from sparsekit.sweeps.records import FROZEN, Sweep
from sparsekit.system.secrets import masked_text
from sparsekit.system.users import name_of

OWN = "sparsekit."
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
    snapshot = _snapshot(sweep)
    said += [f"runs the code in {snapshot}"] if snapshot else []
    return ", ".join(said)


def code_digest(sweep: Sweep) -> str:
    """Return a digest of all in a sweep that names code, for what waits to be run later."""
    whole = _readable(sweep)
    named = [whole["cluster"], whole.get(SALT), _snapshot(sweep), *_configs(whole)]
    return hashlib.sha256(canonical(named).encode()).hexdigest()


def refuse_changed(sweep: Sweep, digest: str) -> None:
    """Raise Untrusted where what a sweep names is not what it was, unless this user changed it."""
    if code_digest(sweep) != digest:
        reason = _reason(sweep)
        if reason is not None:
            raise Untrusted(f"{sweep.name} was changed since this was submitted: {reason}")


def _reason(sweep: Sweep) -> str | None:
    foreign = [uid for uid in _owners(sweep) if uid != os.geteuid()]
    if foreign:
        return f"its files belong to {name_of(foreign[0])}"
    if not is_sealed(sweep):
        return (
            "it has no seal of yours, so it was copied here, changed, or made by an older release"
        )
    return None


def _owners(sweep: Sweep) -> Iterator[int]:
    """Yield the owners of what decides what is run."""
    if sweep.file.name == FROZEN:
        yield os.lstat(sweep.folder).st_uid
    for file in (sweep.file, private_of(sweep.file)):
        if os.path.lexists(file):
            yield os.lstat(file).st_uid
    for folder, _, names in os.walk(_snapshot(sweep) or ""):
        for path in (Path(folder), *(Path(folder, name) for name in names)):
            yield os.lstat(path).st_uid


def _snapshot(sweep: Sweep) -> str | None:
    place: str | None = sweep.frozen.get("code", {}).get("snapshot")
    return place


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
