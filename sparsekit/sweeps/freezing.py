"""Writing down what was asked for: one sweep for the same runs, whoever asks and wherever."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sparsekit.store import claims, place
from sparsekit.store.aside import write_over
from sparsekit.sweeps.frozen import SEAL, has_seal, read_frozen, seal_of
from sparsekit.sweeps.private import SALT, NotReadable, private_of, taken_apart, write_private
from sparsekit.sweeps.records import FOLDER, FROZEN, OWN, Sweep, list_sweeps
from sparsekit.system.files import Damaged, Hidden, refuse_links


def settle(root: Path) -> str | None:
    """Make a folder a store of its own; return the path of the store that it was a copy of, if any.

    What is under way in the original is forgotten: its claims, and submissions that name no store,
    as earlier releases wrote them.
    """
    root.mkdir(parents=True, exist_ok=True)
    copied = [sweep for sweep in list_sweeps(root) if _original(sweep) is not None]
    original = place.original_of(root) or next((sweep.original for sweep in copied), None)
    # A link may lead back to the original, whose claims are not ours to give up.
    refuse_links(root, root / "work", *(sweep.claims for sweep in copied))
    if original is not None:
        claims.resign_all(root / "work")
    for sweep in copied:
        claims.resign_all(sweep.claims)
        for note in sweep.noted_submissions():
            if note.get("store") is None:
                sweep.unsubmit(note)
    place.settle(root)
    return original


def _original(sweep: Sweep) -> str | None:
    try:
        return sweep.original
    except (OSError, ValueError, LookupError, TypeError):
        return None


def freeze(root: Path, label: str, content: Mapping[str, Any]) -> Sweep:
    """Write the sweep of these runs in the store `root`; the same runs are always the same sweep.

    What the same user froze before is replaced: where and how runs are computed may differ. What
    another user did stays as it is, for the jobs of theirs that wait, and so does its `user`.
    """
    names = sorted(f"{run['experiment']}/{run['name']}" for run in content["runs"])
    digest = hashlib.sha256("\n".join(names).encode(errors="surrogateescape")).hexdigest()[:8]
    short = re.sub(r"[^\w.+-]", "-", label)[:60].lstrip("-") or "sweep"
    sweep = Sweep(root / FOLDER / f"{short}-{digest}")
    sweep.folder.mkdir(parents=True, exist_ok=True)
    own = sweep.folder / OWN.format(os.geteuid())
    first = _first_user(sweep.folder)
    is_first = first in (None, content.get("user"))
    told = content if is_first else {**content, "user": first}
    _write(root, sweep.folder / FROZEN if is_first else own, told)
    if is_first:
        own.unlink(missing_ok=True)
        private_of(own).unlink(missing_ok=True)
    return Sweep(sweep.folder)


def _write(root: Path, file: Path, content: Mapping[str, Any]) -> None:
    public, hidden = taken_apart(content)
    write_private(file, hidden)
    salt = {SALT: hidden[SALT]} if hidden else {}
    write_over(root, file, {**public, SEAL: seal_of({**content, **salt})}, read_frozen)


def _first_user(folder: Path) -> str | None:
    """Return who asked first for a sweep; None if nobody did, or what was written is damaged.

    Hidden if this user may not see it: it is not theirs to replace.
    """
    try:
        user: str = read_frozen(folder / FROZEN)["user"]
    except Hidden:
        raise
    except (Damaged, OSError):
        return None
    return user


def is_sealed(sweep: Sweep) -> bool:
    """Say whether this user froze a sweep, as it is."""
    try:
        whole = sweep.whole
    except NotReadable:
        return False
    return has_seal(whole)
