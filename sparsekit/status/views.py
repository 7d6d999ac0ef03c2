"""What is known of a sweep and its runs at one moment, in plain data; nothing is written.

The names of the fields are the keys of `--json`: docs/status.md says what they mean.
"""

from __future__ import annotations

import collections
import contextlib
import dataclasses
import functools
import os
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from sparsekit.report.reading import metric_of
from sparsekit.store.claims import HEARTBEAT
from sparsekit.store.sealing import json_of
from sparsekit.store.store import CorruptResult, Store
from sparsekit.sweeps import scheduler
from sparsekit.sweeps.damage import damage_of
from sparsekit.sweeps.jobs import Ask, by_member, queued_jobs
from sparsekit.sweeps.liveness import LIVE, MISSING, STATES, Observation, observe
from sparsekit.sweeps.records import Sweep, member_of
from sparsekit.system.files import MOST_BYTES, read_bytes, refuse_links
from sparsekit.tasks.metric import Metric

METHOD = "sparsekit.method.cycle.Method"
AGAIN = ("lost", "open")
KEEPERS = ("controller", "watchdog")


@dataclasses.dataclass(frozen=True)
class Fit:
    """How far a fit is, by its progress file: step `step` of `last_step`, and the last value of
    the `primary` metric on the validation split."""

    key: str
    cycle: int
    particle: int
    step: int
    last_step: int
    primary: Metric
    validation: float | None


@dataclasses.dataclass(frozen=True)
class RunView:
    """One run of a sweep. Times are seconds; `validation` is the `primary` metric of the current
    fit (`fit`), or else of the last finished ticket; None stands for what is not known."""

    number: int
    name: str
    experiment: str
    differs: Mapping[str, str]
    state: str
    reason: str
    heartbeat: float | None
    cycles_done: int
    cycles: int | None
    fit: Fit | None
    primary: Metric | None
    validation: float | None
    seconds: float
    attempts: int
    job: str | None
    node: str | None
    pid: int | None
    log: str | None
    error: str | None


@dataclasses.dataclass(frozen=True)
class SweepView:
    """A sweep: `counts` says how many runs are in which state. `controller`: the job that submits
    again what was lost, where one is in the queue. `copy_of`: the store that the sweep's is a copy
    of. `runs` is empty in a list of sweeps. `damaged` says which files are not what was written
    there, and why."""

    name: str
    folder: str
    created: float
    command: str
    user: str
    num_runs: int
    counts: Mapping[str, int]
    controller: str | None
    runs: tuple[RunView, ...]
    copy_of: str | None = None
    damaged: tuple[str, ...] = ()

    @property
    def is_live(self) -> bool:
        """May anything still happen without anybody's help?"""
        waits = any(self.counts.get(state) for state in AGAIN) and self.controller is not None
        return waits or any(self.counts.get(state) for state in LIVE)

    @property
    def is_missing(self) -> bool:
        return any(self.counts.get(state) for state in MISSING)


def observed(sweep: Sweep, ask: Ask | None = None) -> list[Observation]:
    """Observe every run, in order, by the clock of this machine; writes nothing."""
    return observe(sweep, stale_after=sweep.stale_after, now=time.time(), ask=ask)


def view_sweep(sweep: Sweep) -> SweepView:
    """View a sweep and each of its runs."""
    ask = functools.cache(scheduler.queue)
    observations = observed(sweep, ask)
    runs = tuple(_view_run(sweep, one) for one in observations)
    return _summary(sweep, [one.state for one in observations], runs, ask)


@dataclasses.dataclass(frozen=True)
class StoreView:
    """The sweeps of a store, without their runs, and why others cannot be shown."""

    store: str
    sweeps: tuple[SweepView, ...]
    damaged: tuple[str, ...]


def view_store(sweeps: Sequence[Sweep]) -> list[SweepView]:
    """View sweeps without their runs; SLURM is asked once for all of them."""
    ask = functools.cache(scheduler.queue)
    return [_summary(sweep, _states(sweep, ask), (), ask) for sweep in sweeps]


def num_cycles(method: Mapping[str, Any]) -> int | None:
    """Count the cycles that a frozen method plans; None for one that is not our `Method`.

    >>> num_cycles({"_target_": METHOD, "cycles": 3, "rewind_step": 20})
    5
    """
    if method.get("_target_") != METHOD:
        return None
    dense = 1 + bool(method.get("rewind_step")) if method.get("dense_first", True) else 0
    controlled = bool(method.get("control")) or bool(method.get("reinitialise"))
    held_fixed = controlled and bool(method.get("mover") or method.get("view"))
    penalised = bool(method.get("penalty"))
    cycles = method.get("cycles", 0)
    if not isinstance(cycles, int):
        return None
    cycles += penalised
    return dense + cycles + bool(method.get("reprune") or held_fixed)


def _states(sweep: Sweep, ask: Ask) -> list[str]:
    # Asking the scheduler takes longer than everything else, and results speak for themselves.
    if all(sweep.is_done(number) for number in range(len(sweep.runs))):
        return ["done"] * len(sweep.runs)
    return [one.state for one in observed(sweep, ask)]


def _summary(sweep: Sweep, states: Sequence[str], runs: tuple[RunView, ...], ask: Ask) -> SweepView:
    counted = collections.Counter(states)
    is_waited_for = any(state in AGAIN for state in counted)
    return SweepView(
        name=sweep.name,
        folder=str(sweep.folder),
        created=sweep.frozen["created"],
        command=sweep.frozen["command"],
        user=sweep.frozen["user"],
        num_runs=len(sweep.runs),
        counts={state: counted[state] for state in STATES if counted[state]},
        controller=_controller(sweep, ask) if is_waited_for else None,
        copy_of=sweep.original,
        runs=runs,
        damaged=tuple(damage_of(sweep)),
    )


def _controller(sweep: Sweep, ask: Ask) -> str | None:
    jobs = by_member(sweep, queued_jobs(sweep, ask) or [], kinds=KEEPERS)
    return next((one.job for one in jobs.values()), None)


def _view_run(sweep: Sweep, one: Observation) -> RunView:
    run, status = sweep.runs[one.number], one.last_status
    rows = one.record["rows"] if one.record else []
    fit = None if one.state == "done" else _fit(sweep.last_progress(member_of(one.number)))
    primary, validation = _reached(sweep.root, rows, fit)
    is_running = one.state == "running"
    # By the clock of the node, which may be ahead of this one.
    begun = status.get("begun", time.time())
    this_attempt = max(0.0, time.time() - begun) if is_running else 0.0
    return RunView(
        number=one.number,
        name=run["name"],
        experiment=run["experiment"],
        differs=run["differs"],
        state=one.state,
        reason=one.reason,
        heartbeat=_heartbeat(sweep, member_of(one.number)) if is_running else None,
        cycles_done=len(rows),
        cycles=num_cycles(run["config"]["method"]),
        fit=fit,
        primary=primary,
        validation=validation,
        seconds=status.get("seconds", 0.0) + this_attempt,
        attempts=status.get("attempts", 0),
        job=one.job,
        node=status.get("node"),
        pid=status.get("pid"),
        log=status.get("log"),
        error=None if one.state == "done" else status.get("error"),
    )


def _fit(told: Mapping[str, Any] | None) -> Fit | None:
    """Return what the progress file of a fit tells; None for nothing. Files of older releases speak
    of `val_accuracy` alone."""
    if told is None:
        return None
    validation = told.get("validation", told.get("val_accuracy"))
    place = {name: told.get(name, 0) for name in ("key", "cycle", "particle", "step", "last_step")}
    return Fit(**place, primary=metric_of(told), validation=validation)


Reached = tuple[Metric | None, float | None]


def _reached(root: Path, rows: Sequence[Mapping[str, Any]], fit: Fit | None) -> Reached:
    """Return the primary metric of a run on the validation split, the last that is known."""
    if fit is not None and fit.validation is not None:
        return fit.primary, fit.validation
    if not rows:
        return None, None
    # Read as it stands, for a look at it: reports verify.
    key = rows[-1]["ticket"]
    try:
        folder = Store(root).path(key)
        refuse_links(root, folder)
        metrics = json_of(read_bytes(folder / "metrics.json", most=MOST_BYTES), key, "metrics.json")
        primary = metric_of(metrics)
    except (OSError, ValueError, CorruptResult):
        return None, None
    value = metrics.get(f"val_{primary.name}")
    return primary, value if isinstance(value, int | float) else None


def _heartbeat(sweep: Sweep, member: str) -> float | None:
    """Return the seconds since the last heartbeat of a member, by the clock of this machine."""
    beats = []
    for file in sweep.claims.glob(f"{member}/*/{HEARTBEAT}"):
        with contextlib.suppress(OSError):
            beats.append(os.lstat(file).st_mtime)
    return max(0.0, time.time() - max(beats)) if beats else None
