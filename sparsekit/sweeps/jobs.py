"""Which jobs of SLURM are a sweep's, in whoever's queue they are.

The name of a job ends with the id of the submission that it came from. But numbers are used again,
anything can be given a name, and a copy of a store has the same submissions. So a job is a sweep's
only if name, user and number are those that this very store has written down; or the folder it was
submitted from, where the number was not written.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from sparsekit.sweeps import scheduler
from sparsekit.sweeps.records import Sweep
from sparsekit.sweeps.scheduler import Queued
from sparsekit.system.printing import remark
from sparsekit.system.users import name_of

SLURM = "sparsekit.sweeps.clusters.Slurm"
RUNS, FITS, CONTINUED = "runs", "fits", "continued"
CONTROLLER, WATCHDOG = "controller", "watchdog"
SILENCE_SECONDS, SECONDS_BETWEEN_QUESTIONS = 300.0, 5.0
Ask = Callable[[tuple[str, ...]], list[Queued] | None]


def is_on_slurm(sweep: Sweep) -> bool:
    """Say whether the runs of a sweep are jobs of SLURM."""
    return bool(sweep.frozen["cluster"]["_target_"] == SLURM)


def queued_jobs(sweep: Sweep, ask: Ask | None = None) -> list[Queued] | None:
    """Return the jobs of a sweep that wait or run; None if the scheduler does not answer.

    `ask` returns the queue of users, if it was asked for already.
    """
    notes = {note["id"]: note for note in sweep.submissions()}
    queued = (ask or scheduler.queue)(sweep.users(notes.values())) if notes else []
    if queued is None:
        return None
    return [one for one in queued if _is_of(one, notes.get(sweep.submission_of(one.name)))]


def hidden_members(sweep: Sweep) -> dict[str, str]:
    """Return the members whose jobs SLURM does not show to this user, each with the other one."""
    uid = str(os.geteuid())
    users = {m: sweep.user_of(note) for note in sweep.submissions() for m in note["members"]}
    others = {
        member: user for member, user in users.items() if user not in (uid, name_of(int(uid)))
    }
    if not others or uid == "0" or not scheduler.hides_jobs_of_others():
        return {}
    return {m: name_of(int(user)) if user.isdecimal() else user for m, user in others.items()}


def ask_queue(sweep: Sweep) -> list[Queued]:
    """Return the jobs of a sweep that wait or run; waits while SLURM is silent.

    RuntimeError if it is silent for longer than `SILENCE_SECONDS`: nothing is decided blindly.
    """
    deadline, is_told = time.monotonic() + SILENCE_SECONDS, False
    while (queued := queued_jobs(sweep)) is None:
        if not is_told:
            remark(f"SLURM does not answer squeue; asked for {SILENCE_SECONDS:g} s")
            is_told = True
        if time.monotonic() > deadline:
            raise RuntimeError(f"SLURM has not answered squeue for {SILENCE_SECONDS:g} s")
        time.sleep(SECONDS_BETWEEN_QUESTIONS)
    return queued


def by_member(sweep: Sweep, queued: Sequence[Queued], *, kinds: Sequence[str]) -> dict[str, Queued]:
    """Return the job of each member that is in the queue for one of these kinds of submissions."""
    notes = {note["id"]: note for note in sweep.submissions() if note["kind"] in kinds}
    found = {}
    for one in queued:
        note = notes.get(sweep.submission_of(one.name))
        if note is not None and one.index < len(note["members"]):
            found[note["members"][one.index]] = one
    return found


def arrays(jobs: Iterable[Queued]) -> list[str]:
    """Return the numbers of the arrays that jobs are in."""
    return sorted({one.number for one in jobs})


def jobs_of(sweep: Sweep, members: Sequence[str] | None = None) -> list[Queued]:
    """Return the jobs in the queue for these members and their fits; None: for the whole sweep.

    The same runs in another store are another sweep, whose jobs have similar names.
    """
    queued = ask_queue(sweep)
    if members is None:
        return queued
    found = by_member(sweep, queued, kinds=(RUNS, FITS, CONTINUED))
    return [one for member, one in found.items() if member.partition(".")[0] in members]


def may_cancel(job: Queued) -> bool:
    """Say whether this user may take a job out of the queue."""
    return job.uid in ("", str(os.geteuid())) or os.geteuid() == 0


def _is_of(job: Queued, note: Mapping[str, Any] | None) -> bool:
    if note is None or (job.uid and str(note.get("uid", job.uid)) != job.uid):
        return False
    if note["job"] is not None:
        return bool(job.number == note["job"])
    # Whoever submitted it died before the number was written down.
    return job.folder in ("", note.get("folder", job.folder))
