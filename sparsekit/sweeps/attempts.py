"""One attempt of a job at a member of a sweep: claim it, work, and record how it ended.

What a job records about itself is read by people and by the controller; no result depends on it.
However an attempt ends, the next one resumes from what is in the store.
"""

from __future__ import annotations

import dataclasses
import os
import platform
import time
import traceback
from collections.abc import Callable
from typing import Any

from sparsekit.store import claims
from sparsekit.store.store import Busy, CorruptResult, Store
from sparsekit.sweeps import scheduler
from sparsekit.sweeps.clusters import EARLY_SECONDS, Slurm
from sparsekit.sweeps.damage import put_aside_damage
from sparsekit.sweeps.records import Sweep
from sparsekit.system import interruption
from sparsekit.system.files import Damaged
from sparsekit.system.fit_jobs import Parked
from sparsekit.system.interruption import Stopped
from sparsekit.system.printing import remark
from sparsekit.system.refusals import refusal_in
from sparsekit.system.secrets import masked_here

MAX_IDLE_ATTEMPTS = 3
END = 1000


def run_attempt(
    sweep: Sweep,
    member: str,
    work: Callable[[], None],
    *,
    log: str | None = None,
    stale_after: float = 60.0,
) -> str:
    """Work at a member and return how that ended: done, stopped, waiting, parked or failed.

    Returns waiting, and records nothing, if another process is at work on the same member. A
    KeyboardInterrupt is raised again once the attempt is recorded as stopped. Where the system
    refuses the record itself, such as on a full disk, that is printed.
    """
    interruption.listen()
    try:
        return _attempt(sweep, member, work, log, stale_after)
    except OSError as error:
        refusal = refusal_in(error)
        if refusal is None:
            raise
        remark(f"{sweep.name} {member}: {refusal}")
        return "failed"


def _attempt(
    sweep: Sweep, member: str, work: Callable[[], None], log: str | None, stale_after: float
) -> str:
    place = claims.claim(sweep.claims, member, stale_after=stale_after)
    if place is None:
        remark(f"{sweep.name} {member}: {at_work_elsewhere(sweep, member)}")
        return "waiting"
    try:
        with claims.heartbeat(place):
            return _run_claimed(sweep, member, work, log)
    finally:
        claims.release(place)


def at_work_elsewhere(sweep: Sweep, member: str) -> str:
    """Say that another process is at work on a member, and which one."""
    who = claims.holder(sweep.claims, member)
    return f"another process is at work on it{f': {who}' if who else ''}"


def job_number() -> str | None:
    """Return the SLURM job that this process is in; `ARRAY_INDEX` for a member of an array."""
    array = os.environ.get("SLURM_ARRAY_JOB_ID")
    if array is not None:
        return f"{array}_{os.environ['SLURM_ARRAY_TASK_ID']}"
    return os.environ.get("SLURM_JOB_ID")


@dataclasses.dataclass(frozen=True)
class _End:
    state: str
    reason: str = ""
    error: str | None = None
    waits_for: str | None = None
    interrupt: KeyboardInterrupt | None = None


def _run_claimed(sweep: Sweep, member: str, work: Callable[[], None], log: str | None) -> str:
    put_aside_damage(sweep, member)
    before = sweep.last_status(member)
    status = {
        "state": "running",
        "reason": "",
        "error": None,
        "job": job_number(),
        "node": os.environ.get("SLURMD_NODENAME") or platform.node(),
        "pid": os.getpid(),
        "log": log,
        "begun": time.time(),
        "attempts": before.get("attempts", 0) + 1,
        "seconds": before.get("seconds", 0.0),
        "idle_attempts": before.get("idle_attempts", 0),
        "position": before.get("position"),
    }
    sweep.write_status(member, status)
    begun = time.monotonic()
    end = _worked(work)
    seconds = status["seconds"] + time.monotonic() - begun
    position = _position(sweep, member)
    idle = _idle_attempts(sweep, status, end, position)
    if idle >= MAX_IDLE_ATTEMPTS:
        reason = f"its time was up {idle} times at the same place; resources.minutes gives it more"
        end = _End("failed", reason)
    final = {n: getattr(end, n) for n in ("state", "reason", "error", "waits_for")}
    spent = {"seconds": seconds, "position": position, "idle_attempts": idle}
    sweep.write_status(member, {**status, **final, **spent})
    if end.interrupt is not None:
        raise end.interrupt
    return end.state


def _worked(work: Callable[[], None]) -> _End:
    try:
        work()
    except Stopped as stopped:
        return _End("stopped", f"stopped by {', '.join(stopped.signals)}")
    except Busy as busy:
        return _End("waiting", f"another run computes {busy.key}", waits_for=busy.key)
    except Parked as parked:
        return _End("parked", str(parked))
    except KeyboardInterrupt as interrupt:
        return _End("stopped", "stopped by Ctrl-C", interrupt=interrupt)
    except (Damaged, CorruptResult) as refused:
        return _End("failed", _shortened(refused))
    except BaseException as error:
        if (refusal := refusal_in(error)) is not None:
            return _End("failed", refusal)
        if interruption.asked():
            # What a signal to all processes of a job breaks is no error of the run; one that is
            # will come again.
            remark(masked_here(traceback.format_exc()))
            by = ", ".join(interruption.received())
            return _End("stopped", f"stopped by {by}; then {_shortened(error)}")
        told = masked_here(traceback.format_exc())
        return _End("failed", _shortened(error), told)
    return _End("done")


def _shortened(error: BaseException) -> str:
    """Return what an error says; of a long text the beginning and the end, where its errors are."""
    text = masked_here(f"{type(error).__name__}: {error}")  # before a key is cut in two
    return text if len(text) <= 2 * END else f"{text[:END]}\n...\n{text[-END:]}"


def _position(sweep: Sweep, member: str) -> list[Any]:
    """Return how far a member is: key and step of its last fit, and how many stages there are.

    Others compute stages of a store too. Then a member seems to come further than it does, and is
    given more attempts; nothing that comes further ever seems not to.
    """
    store = Store(sweep.root)
    num_stages = sum(1 for kind in store.kinds() for _ in store.keys(kind))
    told = sweep.last_progress(member) or {}
    return [told.get("key"), told.get("step"), num_stages]


def _idle_attempts(sweep: Sweep, status: dict[str, Any], end: _End, position: list[Any]) -> int:
    """Count the attempts whose time was up where that of the one before was.

    Warnings while a process starts, evictions and requeues tell nothing of how far an attempt comes
    that is left alone.
    """
    before: int = status["idle_attempts"]
    if end.state != "stopped" or position != status["position"]:
        return 0
    return before + _is_out_of_time(sweep)


def _is_out_of_time(sweep: Sweep) -> bool:
    """Say whether a time limit ends this process; not where SLURM does not tell."""
    job = job_number()
    left = None if job is None else scheduler.seconds_left(job)
    warned = sweep.frozen["cluster"].get("signal_seconds", Slurm.signal_seconds)
    return left is not None and left <= warned + EARLY_SECONDS
