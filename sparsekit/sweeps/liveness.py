"""What became of every run of a sweep, from all there is to know: results, files, the scheduler.

A run is done when its record says so and what that names is there, whatever its job looks like.
Otherwise the queue says whether a job waits or runs, heartbeats whether one is at work, and what is
left is a run that failed, was cancelled, or was lost.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from sparsekit.store import claims
from sparsekit.store.results import missing_results
from sparsekit.sweeps import scheduler
from sparsekit.sweeps.damage import damage_of_run
from sparsekit.sweeps.jobs import Ask, hidden_members, queued_jobs
from sparsekit.sweeps.records import Sweep, member_of
from sparsekit.sweeps.scheduler import Ended, Queued

STATES = {
    "done": "its results are published",
    "running": "a job is at work on it",
    "starting": "its job has begun, and has recorded nothing yet",
    "queued": "its job waits to begin, or to go on",
    "waiting": "another run computes what it needs; its job looks again now and then",
    "parked": "its fits are jobs of their own; it goes on when they have ended",
    "failed": "it raised an error; it is retried only if asked",
    "cancelled": "its job was cancelled; it is retried only if asked",
    "lost": "its job ended without result or reason; retried up to `cluster.rounds` times",
    "open": "no job was submitted for it",
}
LIVE = ("running", "starting", "queued", "waiting", "parked")
MISSING = ("failed", "cancelled", "lost", "open")
SETTLING_SECONDS = 15.0
NO_MEMORY = "OUT_OF_MEMORY"
UNBEGUN = "its job left the queue without having begun"


@dataclasses.dataclass(frozen=True)
class Observation:
    """State of one run, the reason for it in words, its job, and the last status of that."""

    number: int
    state: str
    reason: str
    job: str | None
    last_status: Mapping[str, Any]
    record: Mapping[str, Any] | None

    @property
    def is_live(self) -> bool:
        return self.state in LIVE

    @property
    def is_missing(self) -> bool:
        return self.state in MISSING


def observe(
    sweep: Sweep,
    *,
    stale_after: float = 60.0,
    now: float | None = None,
    ask: Ask | None = None,
) -> list[Observation]:
    """Observe every run, in order; asks the scheduler at most twice.

    Jobs and processes are those of this very store: in a copy nothing is under way.

    `now`: write nothing, not even to ask the file server for the time. `ask`: returns the queue of
    users, if it was asked for already.
    """
    submissions = sweep.submissions()
    queued = queued_jobs(sweep, ask)
    numbers = {sweep.submission_of(one.name): one.number for one in queued or []}
    jobs = _jobs_of(submissions, numbers)
    noted = {member: note for note in submissions for member in note["members"]}
    hidden = hidden_members(sweep)
    known = _Known(sweep, jobs, _by_number(queued), noted, hidden, stale_after, now)
    observations = [_observe(known, number) for number in range(len(sweep.runs))]
    unclear = [one.job for one in observations if one.job and one.state in ("lost", "cancelled")]
    ended = scheduler.accounts(unclear)
    if ended is None:
        return [_undecided(one) for one in observations]
    # Numbers are used again, by anybody.
    names = {"", *(sweep.job_name(note["id"]) for note in submissions)}
    ended = {job: one for job, one in ended.items() if one.name in names}
    return [_explained(one, ended.get(one.job or "")) for one in observations]


@dataclasses.dataclass(frozen=True)
class _Known:
    sweep: Sweep
    jobs: Mapping[str, Sequence[str]]
    queued: Mapping[str, Queued] | None
    noted: Mapping[str, Mapping[str, Any]]
    hidden: Mapping[str, str]
    stale_after: float
    now: float | None


def _by_number(queued: Sequence[Queued] | None) -> Mapping[str, Queued] | None:
    return None if queued is None else {one.job: one for one in queued}


def _jobs_of(
    submissions: Sequence[Mapping[str, Any]], queued: Mapping[str, str]
) -> dict[str, list[str]]:
    """Return the jobs that were submitted for each member, the latest last.

    A process that dies while submitting leaves a job whose number was not written down; `queued`
    are the numbers that the queue tells, by the submission's id in the job's name.
    """
    jobs: dict[str, list[str]] = {}
    for note in submissions:
        job = note["job"] or queued.get(note["id"])
        for index, member in enumerate(note["members"]):
            if job is not None:
                is_array = len(note["members"]) > 1
                jobs.setdefault(member, []).append(f"{job}_{index}" if is_array else job)
    return jobs


def _observe(known: _Known, number: int) -> Observation:
    member = member_of(number)
    status = known.sweep.last_status(member)
    record = known.sweep.record(number)
    jobs = known.jobs.get(member, [])

    def observation(state: str, reason: str, job: str | None = None) -> Observation:
        damage = damage_of_run(known.sweep, number) if state in MISSING else []
        reason = "; ".join(filter(None, (reason, *damage)))
        return Observation(number, state, reason, job or status.get("job"), status, record)

    gone: list[str] = []
    if record is not None and record["status"] == "done":
        gone = missing_results(known.sweep.root, record)
        if not gone:
            return observation("done", "")
    entries = [known.queued[job] for job in jobs if known.queued and job in known.queued]
    if _is_held(known, member):
        return observation("running", "", status.get("job"))
    if entries:
        return observation(*_in_queue(entries[-1], status), entries[-1].job)
    job = jobs[-1] if jobs else None
    if gone and not known.sweep.is_cancelled(member):
        return observation("lost", f"it was done, but {_listed(gone)} not in the store", job)
    return observation(*_out_of_queue(known, member, status, jobs), job)


def _listed(keys: Sequence[str]) -> str:
    more = f" and {len(keys) - 1} more are" if len(keys) > 1 else " is"
    return f"{keys[0]}{more}"


def _is_held(known: _Known, member: str) -> bool:
    if known.sweep.original is not None:
        return False
    return claims.is_held(known.sweep.claims, member, stale_after=known.stale_after, now=known.now)


def _in_queue(entry: Queued, status: Mapping[str, Any]) -> tuple[str, str]:
    if entry.is_live and status.get("job") == entry.job and status.get("state") == "failed":
        return "failed", status.get("reason", "")
    if entry.is_live:
        return "starting", entry.state.lower()
    if status.get("state") == "waiting":
        return "waiting", status.get("reason", "")
    if status.get("state") == "parked":
        return "parked", status.get("reason", "")
    return "queued", status.get("reason") or entry.reason


def _out_of_queue(
    known: _Known, member: str, status: Mapping[str, Any], jobs: Sequence[str]
) -> tuple[str, str]:
    noted = known.noted.get(member)
    state = status.get("state")
    if known.sweep.is_cancelled(member):
        return "cancelled", "as somebody asked"
    if state == "failed":
        return state, status.get("reason", "")
    if noted is None and not status:
        return "open", "not begun"
    if known.queued is None and noted is not None:
        return "queued", "the scheduler does not answer"
    if member in known.hidden:
        return "queued", f"its job is {known.hidden[member]}'s, which SLURM does not show"
    begun = bool(jobs) and status.get("job") == jobs[-1]
    if noted is not None and not begun and _is_new(known, noted):
        return "queued", "just submitted"
    if jobs and not begun:
        return "cancelled", UNBEGUN
    if not jobs and not state:
        return "open", "its submission was cut off"
    if known.sweep.original is not None:
        return "lost", f"was last {state} in {known.sweep.original}, of which this is a copy"
    reason = status.get("reason") or "no reason given"
    return "lost", f"its job ended, and was last {state}: {reason}"


def _is_new(known: _Known, note: Mapping[str, Any]) -> bool:
    """Say whether a submission was noted just now; its `time` is by the clock of any machine."""
    try:
        age = claims.age(known.sweep.note_file(note), now=known.now)
    except OSError:
        return False
    return abs(age) < SETTLING_SECONDS


def _undecided(one: Observation) -> Observation:
    """Do not call a run cancelled that may as well have died, while the accounting is silent."""
    if one.reason != UNBEGUN:
        return one
    reason = f"{UNBEGUN}, and the accounting does not say how"
    return dataclasses.replace(one, state="lost", reason=reason)


def _explained(one: Observation, ended: Ended | None) -> Observation:
    """Add what the accounting knows of a job that is gone."""
    if ended is None:
        return one
    if one.state == "lost" and ended.state == "CANCELLED":
        return dataclasses.replace(one, state="cancelled", reason="its job was cancelled")
    if one.state == "lost" and ended.state == NO_MEMORY:
        reason = "out of memory; give it more by resources.memory_gb"
        return dataclasses.replace(one, state="failed", reason=reason)
    if one.reason == UNBEGUN and ended.state != "CANCELLED":
        reason = f"its job ended before it could say anything; SLURM says {ended}"
        return dataclasses.replace(one, state="lost", reason=reason)
    return dataclasses.replace(one, reason=f"{one.reason}; SLURM says {ended}")
