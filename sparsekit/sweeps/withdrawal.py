"""Submissions that did not go through: refused in part, or cut off by the end of their process.

The queue is asked, by the names of jobs, which end with the id of their submission: what sbatch
says is not always what happened, and who asked it may be gone.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from sparsekit.store import claims
from sparsekit.sweeps import scheduler
from sparsekit.sweeps.batch import Refused
from sparsekit.sweeps.jobs import ask_queue, queued_jobs
from sparsekit.sweeps.records import Sweep
from sparsekit.sweeps.scheduler import Queued
from sparsekit.system.printing import remark

SETTLING_SECONDS, POLL_SECONDS = 15.0, 1.0
GONE_SECONDS = 60.0
ENDING = "COMPLETING"
Note = Mapping[str, Any]


@contextlib.contextmanager
def all_or_none(sweep: Sweep) -> Iterator[None]:
    """Take back what SLURM has accepted in the block where the block is not finished.

    Raises what ended the block, or Refused with the jobs that could not be taken back.
    """
    before = {note["id"] for note in sweep.submissions()}
    try:
        yield
    except BaseException as error:
        notes = [note for note in sweep.submissions() if note["id"] not in before]
        left = withdraw(sweep, notes)
        if left and isinstance(error, Exception):
            raise Refused(f"{error}; cancel what stays in the queue: {', '.join(left)}") from error
        raise


def withdraw(sweep: Sweep, notes: Sequence[Note]) -> list[str]:
    """Cancel the jobs of submissions and forget those; return the jobs that stay in the queue.

    Where the queue cannot be asked nothing is forgotten; what has no number is settled later.
    """
    noted = {note["job"] for note in notes if note["job"]}
    deadline, cancelled = time.monotonic() + GONE_SECONDS, set(noted)
    left: list[Queued] | None = None
    while left != []:
        with contextlib.suppress(RuntimeError):
            scheduler.cancel(sorted(cancelled))
        left = _queued(sweep, notes)
        found = {one.number for one in left or []}
        if left is None and not noted:
            break
        if time.monotonic() > deadline and found <= cancelled:
            break
        cancelled |= found
        if left != []:
            time.sleep(POLL_SECONDS)
    if left is None:
        return sorted(noted)
    staying = [one for one in left if one.state != ENDING]
    kept = {sweep.submission_of(one.name) for one in staying}
    for note in notes:
        if note["id"] not in kept:
            sweep.unsubmit(note)
    return sorted({one.number for one in staying})


def _queued(sweep: Sweep, notes: Sequence[Note]) -> list[Queued] | None:
    """Return the jobs in the queue of these submissions; None if SLURM does not answer."""
    queued = queued_jobs(sweep)
    ids = {note["id"] for note in notes}
    return queued and [one for one in queued if sweep.submission_of(one.name) in ids]


def settle_submissions(sweep: Sweep) -> None:
    """Find out what became of submissions whose process ended before their job's number was noted.

    Only for who has the right to submit: nobody else's submission is under way then, though an
    sbatch may be that outlived its process. So one is forgotten that is not in the queue when
    it is `SETTLING_SECONDS` old. Says what was found.
    """
    open_notes = [note for note in sweep.submissions() if note["job"] is None]
    if not open_notes:
        return
    remark("an earlier submission was cut off; looking for its jobs in the queue")
    for note in open_notes:
        # A file may have a time that is still to come.
        age = max(0.0, claims.age(sweep.note_file(note)))
        deadline = time.monotonic() + SETTLING_SECONDS - age
        while not (jobs := _jobs_of(sweep, note)) and time.monotonic() < deadline:
            time.sleep(POLL_SECONDS)
        what = f"a submission of {len(note['members'])} jobs"
        if not jobs:
            sweep.unsubmit(note)
            remark(f"{what} was cut off before SLURM had it: it does not count")
        else:
            sweep.submitted(note, jobs[0].number)
            remark(f"{what} was cut off when SLURM had it, as job {jobs[0].number}: it goes on")


def _jobs_of(sweep: Sweep, note: Note) -> list[Queued]:
    return [one for one in ask_queue(sweep) if sweep.submission_of(one.name) == note["id"]]
