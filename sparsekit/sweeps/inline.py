"""The runs of a sweep in this process, one after the other."""

from __future__ import annotations

import collections
import time
from collections.abc import Sequence
from typing import Any

from sparsekit.runs.runner import PreparedRun, prepare_run, run_prepared, thawed
from sparsekit.store import claims
from sparsekit.sweeps.attempts import at_work_elsewhere, run_attempt
from sparsekit.sweeps.member import shown_by
from sparsekit.sweeps.records import Sweep, member_of
from sparsekit.system import interruption
from sparsekit.system.printing import remark

SECONDS_BETWEEN_LOOKS = 1.0


def run_inline(sweep: Sweep, numbers: Sequence[int]) -> list[dict[str, Any]]:
    """Return the records of the runs that were finished, in the order in which they were.

    Runs that another process is at work on are left for later and waited for: the same command may
    be typed twice, or started by every task of a job.
    """
    interruption.listen()
    records: list[dict[str, Any]] = []
    left = collections.deque(enumerate(numbers, 1))
    told: set[int] = set()
    num_waiting = 0
    while left and not interruption.asked():
        turn, number = left.popleft()
        prepared = prepare_run(thawed(sweep.whole_run(number)))
        prepared = shown_by(prepared, sweep, member_of(number))
        title = f"[{turn}/{len(numbers)}] {prepared.name}"
        if _attempt(sweep, number, prepared, title, records) != "waiting":
            num_waiting = 0
            continue
        if number not in told:
            told_of = at_work_elsewhere(sweep, member_of(number))
            remark(f"{title}: {told_of}; waiting for it")
            told.add(number)
        left.append((turn, number))
        num_waiting += 1
        if num_waiting == len(left):
            time.sleep(SECONDS_BETWEEN_LOOKS)
            num_waiting = 0
    return records


def _attempt(
    sweep: Sweep, number: int, prepared: PreparedRun, title: str, records: list[dict[str, Any]]
) -> str:
    """Return how an attempt at a run ended; one that is done adds its record to `records`."""
    member = member_of(number)
    if sweep.is_cancelled(member) and not sweep.is_done(number):
        remark(f"{title} cancelled")
        return "cancelled"
    if claims.is_held(sweep.claims, member, stale_after=sweep.stale_after):
        return "waiting"

    def work() -> None:
        records.append(run_prepared(prepared, title))

    state = run_attempt(sweep, member, work, stale_after=sweep.stale_after)
    if state not in ("done", "waiting"):
        remark(f"{title} {state}{_why(sweep, member, state)}")
    return state


def _why(sweep: Sweep, member: str, state: str) -> str:
    """Return why a run ended in a state; nothing where that could not be recorded, but printed."""
    status = sweep.last_status(member)
    is_recorded = status.get("state") == state
    return f": {status.get('error') or status.get('reason')}" if is_recorded else ""
