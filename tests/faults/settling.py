"""Letting sweeps come to their end, and comparing what they left with undisturbed runs."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from sparsekit.report.compare import differences
from sparsekit.store.sealing import CorruptResult, verify
from sparsekit.store.store import Store
from tests.faults.result import Outcome
from tests.faults.world import ROOT, Asked, World
from tests.warm import Forked


def settle(world: World, *, seconds: float) -> None:
    """Mend the cluster and wait until every sweep is done, or nobody can help it."""
    world.heal_everything()
    until = world.now() + seconds
    while not all(one.is_over for one in world.asked) and world.now() < until:
        world.rest(2)


def outcomes(world: World) -> tuple[list[Outcome], list[str]]:
    """Say what became of each sweep, and the stages in the store that no undisturbed run has."""
    store, found = Store(world.store), []
    expected: set[str] = set()
    for one in world.asked:
        undisturbed = Store(_undisturbed(world, one))
        found.append(_outcome(one, undisturbed, store))
        expected |= _all_keys(undisturbed)
    return found, sorted(_all_keys(store) - expected)


def _outcome(one: Asked, undisturbed: Store, store: Store) -> Outcome:
    keys = sorted(_all_keys(undisturbed))
    damage = {key: told for key in keys if (told := _damage(store, key))}
    lost = [f"{key}: {told}" for key, told in damage.items()]
    runs = [] if one.sweep is None else one.sweep.runs
    lost += [f"run {run['name']} is not done" for run in runs if not _is_done(one, run["number"])]
    if one.sweep is None:
        lost.append("the sweep was never submitted")
    about = [line for line in differences(undisturbed, store) if " only in " not in line]
    differing = [line for line in about if line.partition("/")[0] not in damage]
    name = f"{one.command.method} on {one.command.problem}"
    return Outcome(one.number, name, len(runs), len(keys), lost, differing, one.retries)


def _is_done(one: Asked, number: int) -> bool:
    try:
        return one.sweep is not None and one.sweep.is_done(number)
    except ValueError:  # its record is damaged
        return False


def _damage(store: Store, key: str) -> str | None:
    """Say why a stage of the store is not whole; None for one that is."""
    try:
        verify(store.path(key), key)
    except CorruptResult as error:
        return str(error)
    return None


def _all_keys(store: Store) -> set[str]:
    return {key for kind in store.kinds() for key in store.keys(kind)}


def _undisturbed(world: World, one: Asked) -> Path:
    """Compute the runs of a sweep alone, undisturbed in one process; return their store."""
    store = world.folder / f"undisturbed-{one.number}"
    arguments: Sequence[str] = world.arguments(one, store)
    process = Forked(
        [sys.executable, "-m", "sparsekit.run", *arguments, "cluster=inline"],
        cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip
    printed, _ = process.communicate()
    if process.returncode:
        raise RuntimeError(f"an undisturbed run failed: {' '.join(arguments)}\n{printed}")
    return store
