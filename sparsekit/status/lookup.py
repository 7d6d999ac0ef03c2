"""What was named on the command line: a store, a sweep in it, runs of that; otherwise Unknown."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from pathlib import Path

from sparsekit.store.references import VARIABLE, default_store
from sparsekit.sweeps.records import FOLDER, Sweep, find_sweep, list_sweeps
from sparsekit.system.files import Damaged, Hidden

MOST_DIGITS = 20
STORE_FOLDERS = (FOLDER, "named", "stages", "work")


class Unknown(LookupError):
    """There is nothing of that name, or it cannot be read; says what there is."""


def store_of(given: Path | None) -> Path:
    """Return the store that was given, or the one that runs use by default; it must be one."""
    root = (given or default_store()).expanduser()
    if not any((root / part).is_dir() for part in STORE_FOLDERS):
        what = (
            "has no " + ", ".join(f"{part}/" for part in STORE_FOLDERS)
            if root.is_dir()
            else "is not there"
        )
        raise Unknown(f"{root} is not a store: it {what}; give one by --store FOLDER or {VARIABLE}")
    return root.absolute()


def sweep_of(root: Path, name: str) -> Sweep:
    """Return the sweep of that name, or the only one whose name begins with it."""
    try:
        return _whole(find_sweep(root, name))
    except LookupError as error:
        raise Unknown(*error.args) from error


def only_one(root: Path) -> Sweep | None:
    """Return the sweep of a store that holds one; None for none or several."""
    found = list_sweeps(root)
    return _whole(found[0]) if len(found) == 1 else None


def readable_sweeps(root: Path) -> tuple[list[Sweep], list[str]]:
    """Return all sweeps of a store that can be read, the latest last, and why others cannot."""
    found, damage = [], []
    for sweep in list_sweeps(root):
        try:
            found.append(_whole(sweep))
        except Unknown as error:
            damage.append(str(error))
    return found, damage


def runs_of(sweep: Sweep, given: Iterable[str]) -> list[int]:
    """Return the numbers of runs given as numbers or as names of records, each once."""
    return list(dict.fromkeys(run_of(sweep, text) for text in given))


def run_of(sweep: Sweep, given: str) -> int:
    """Return the number of the run that was given by its number or the name of its record."""
    last = len(sweep.runs) - 1
    if given.isdecimal() and len(given) < MOST_DIGITS:
        if int(given) <= last:
            return int(given)
        raise Unknown(f"run {given}: {sweep.name} has the runs 0 to {last}")
    names = {run["name"]: run["number"] for run in sweep.runs}
    if given in names:
        return int(names[given])
    near = difflib.get_close_matches(given, names, n=3, cutoff=0.3) or list(names)[:3]
    raise Unknown(
        f"run {given}: {sweep.name} has the runs 0 to {last}, by name such as {', '.join(near)}"
    )


def _whole(sweep: Sweep) -> Sweep:
    """Return the sweep, if its file can be read; Unknown else."""
    try:
        sweep.frozen  # noqa: B018
    except Damaged as error:
        is_hidden = isinstance(error, Hidden)
        advice = "" if is_hidden else "; the command that started it writes it anew"
        raise Unknown(f"{error}{advice}") from error
    except OSError as error:
        raise Unknown(f"{sweep.file} cannot be read: {error.strerror}") from error
    return sweep
