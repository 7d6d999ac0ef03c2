"""Submitting the runs of a sweep to SLURM, and submitting again what was lost.

No process watches from the login node. Each array is followed by a small job, the controller,
which looks at what became of it, submits again what is missing without a reason, and its own
successor while anything is left to wait for. Meanwhile another small job, the watchdog, looks every
few minutes, so that what was lost early is not missed until the end. The rounds are bounded.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sparsekit.configuration import config
from sparsekit.store.identity import describe
from sparsekit.sweeps import scheduler
from sparsekit.sweeps.batch import Refused
from sparsekit.sweeps.clusters import Slurm
from sparsekit.sweeps.entries import controller_entry, fit_entry, run_entry, watchdog_entry
from sparsekit.sweeps.jobs import (
    CONTINUED,
    CONTROLLER,
    FITS,
    RUNS,
    WATCHDOG,
    arrays,
    ask_queue,
    by_member,
    is_on_slurm,
    may_cancel,
)
from sparsekit.sweeps.liveness import Observation, observe
from sparsekit.sweeps.page import publish_page
from sparsekit.sweeps.records import Sweep, member_of, number_of
from sparsekit.sweeps.resources import Resources
from sparsekit.sweeps.scheduler import Queued
from sparsekit.sweeps.slurm import submit_controller, submit_members
from sparsekit.sweeps.withdrawal import all_or_none, settle_submissions
from sparsekit.system.fit_jobs import Parked
from sparsekit.system.printing import remark, say

MAX_PATIENCE = 20
SECONDS_BETWEEN_LOOKS = 120
TRIED_AGAIN = ("lost", "open")


def submit_runs(sweep: Sweep, numbers: Sequence[int]) -> list[str]:
    """Submit runs of a sweep, an array per kind of resources and chunk; return their job numbers.

    The controller that follows them is submitted too. Refused with SLURM's own words if it takes
    one of them: then it has none of them.
    """
    with all_or_none(sweep):
        jobs = _submit(sweep, numbers, kind=RUNS)
        try:
            _submit_controller(sweep, jobs)
        except Refused as error:
            raise Refused(f"{error}; that was the controller: cluster.controller=") from error
    _ensure_watchdog(sweep)
    return jobs


def observe_settled(sweep: Sweep) -> list[Observation]:
    """Observe every run once it is known what became of submissions that were cut off."""
    settle_submissions(sweep)
    return observe(sweep, stale_after=sweep.stale_after, ask=lambda users: ask_queue(sweep))


def ensure_controller(sweep: Sweep) -> None:
    """Submit the controller of jobs in the queue that have none, and the watchdog.

    The process that submitted them may have been killed before it came to that.
    """
    queued = ask_queue(sweep)
    jobs = arrays(by_member(sweep, queued, kinds=(RUNS, FITS, CONTINUED)).values())
    if not jobs or by_member(sweep, queued, kinds=(CONTROLLER,)):
        return
    try:
        _submit_controller(sweep, jobs)
    except Refused as error:
        remark(f"warning: no controller follows {', '.join(jobs)}: {error}")
    _ensure_watchdog(sweep)


def _ensure_watchdog(sweep: Sweep) -> None:
    """Submit a watchdog if there is none. Without one, lost runs are only noticed later."""
    try:
        if not by_member(sweep, ask_queue(sweep), kinds=(WATCHDOG,)):
            _submit_watchdog(sweep)
    except RuntimeError as error:
        remark(f"warning: lost runs are noticed when the others have ended: {error}")


def _submit(
    sweep: Sweep, numbers: Sequence[int], *, kind: str, delay: int | None = None
) -> list[str]:
    cluster, jobs = _cluster(sweep), []
    for resources, group in _by_resources(sweep, numbers):
        members = [member_of(number) for number in group]
        entries = [run_entry(number) for number in group]
        jobs += submit_members(
            sweep, members, entries, cluster=cluster, resources=resources, kind=kind, delay=delay
        )
    return jobs


def submit_fits(sweep: Sweep, member: str, fits: Mapping[str, Any], *, rounds: int) -> None:
    """Submit fits, by member, as an array, and the run itself to go on after it; raises Parked.

    Fits that are jobs already are waited for. Refused if SLURM does not take them; RuntimeError
    where fits failed, or were lost more than `rounds` times.
    """
    with sweep.submitting(), all_or_none(sweep):
        jobs = _submit_fits(sweep, member, fits, queued=ask_queue(sweep), rounds=rounds)
    raise Parked(f"{len(fits)} fits are jobs {', '.join(jobs)}")


def _submit_fits(
    sweep: Sweep,
    member: str,
    fits: Mapping[str, Any],
    *,
    queued: Sequence[Queued],
    rounds: int,
) -> Sequence[str]:
    _refuse_failed(sweep, fits)
    waiting = by_member(sweep, queued, kinds=(FITS,))
    open_fits = {one: item for one, item in fits.items() if one not in waiting}
    jobs = {waiting[one].number for one in fits if one in waiting}
    tries = max((_times(sweep, one, FITS) for one in open_fits), default=0)
    if tries > rounds:
        raise RuntimeError(f"{len(open_fits)} fits were lost {tries} times: {', '.join(open_fits)}")
    cluster = _cluster(sweep)
    number = number_of(member)
    resources = _resources(sweep, number)
    if open_fits:
        entries = [fit_entry(one, describe(item)) for one, item in open_fits.items()]
        jobs |= set(
            submit_members(
                sweep, list(open_fits), entries, cluster=cluster, resources=resources, kind=FITS
            )
        )
    submit_members(
        sweep,
        [member],
        [run_entry(number)],
        cluster=cluster,
        resources=resources,
        kind=CONTINUED,
        after=sorted(jobs),
    )
    return sorted(jobs)


def look_after(sweep: Sweep, *, patience: int = MAX_PATIENCE) -> None:
    """Submit again what was lost, and a controller to look again when what is left has ended.

    A run that is working without a job in the queue, such as on a node that SLURM has lost, is
    checked every two minutes, `patience` times. Each `status retry` adds a controller; if another
    one waits, it does all this when its turn comes.
    """
    if _has_left(sweep):
        return
    with sweep.submitting():
        any_live = _submit_lost(sweep)
        queued = ask_queue(sweep)
        if _waits(sweep, queued, CONTROLLER):
            return
        after = arrays(by_member(sweep, queued, kinds=(RUNS, FITS, CONTINUED)).values())
        if after:
            _submit_controller(sweep, after)
        elif any_live and patience > 0:
            _submit_controller(sweep, [], patience=patience - 1)
        else:
            watchdogs = by_member(sweep, queued, kinds=(WATCHDOG,)).values()
            scheduler.cancel([one.job for one in watchdogs if may_cancel(one)])
            publish_page(sweep)


def watchdog(sweep: Sweep) -> None:
    """Submit again what was lost, and the next watchdog, while anything is under way."""
    if _has_left(sweep):
        return
    with sweep.submitting():
        if _submit_lost(sweep) and not _waits(sweep, ask_queue(sweep), WATCHDOG):
            _submit_watchdog(sweep)


def _waits(sweep: Sweep, queued: Sequence[Queued], kind: str) -> bool:
    """Say whether a controller or watchdog is in the queue that has not begun.

    One that SLURM requeued, because its node was lost, may have submitted its successor before.
    """
    ids = {note["id"] for note in sweep.submissions() if note["kind"] == kind}
    return any(sweep.submission_of(one.name) in ids and not one.is_live for one in queued)


def _has_left(sweep: Sweep) -> bool:
    """Say whether the sweep was started again without SLURM, where others look after it."""
    if is_on_slurm(sweep):
        return False
    print(f"{sweep.name} was started again with {sweep.frozen['cluster']['_target_']}")
    return True


def _submit_lost(sweep: Sweep) -> bool:
    """Submit again what was lost; say whether anything is under way then.

    A run that saved and left, but could not go back into the queue, has not failed and is not
    counted. Raises Refused if SLURM takes nothing of it and nothing else is under way.
    """
    observations = observe_settled(sweep)
    for one in observations:
        say(f"run {one.number}: {one.state}{': ' * bool(one.reason)}{one.reason}")
    rounds = _cluster(sweep).rounds
    gone = [one for one in observations if one.state in TRIED_AGAIN]
    waiting = [one.number for one in gone if one.last_status.get("state") == "waiting"]
    stopped = [one.number for one in gone if one.last_status.get("state") == "stopped"]
    lost = [
        one.number
        for one in gone
        if one.number not in (*waiting, *stopped)
        and _times(sweep, member_of(one.number), RUNS) <= rounds
    ]
    any_live, refusal = any(one.is_live for one in observations), None
    for numbers, kind, delay in (
        (lost, RUNS, None),
        (stopped, CONTINUED, None),
        (waiting, CONTINUED, SECONDS_BETWEEN_LOOKS),
    ):
        for _, group in _by_resources(sweep, numbers):
            try:
                _submit(sweep, group, kind=kind, delay=delay)
                any_live = True
            except Refused as error:
                print(f"{error}; tried again with the next look")
                refusal = error
    if refusal is not None and not any_live:
        raise refusal
    return any_live


def _submit_controller(sweep: Sweep, after: Sequence[str], *, patience: int = MAX_PATIENCE) -> None:
    entry = controller_entry(patience)
    delay = None if after else SECONDS_BETWEEN_LOOKS
    submit_controller(sweep, entry, cluster=_cluster(sweep), after=after, delay=delay)


def _submit_watchdog(sweep: Sweep) -> None:
    cluster = _cluster(sweep)
    delay = 60 * cluster.patrol_minutes
    submit_controller(sweep, watchdog_entry(), cluster=cluster, kind=WATCHDOG, delay=delay)


def _times(sweep: Sweep, member: str, kind: str) -> int:
    """Count how often a member was submitted since its last reset."""
    last = sweep.last_reset(member)
    notes = [note for note in sweep.submissions() if note["kind"] == kind]
    return sum(member in note["members"] for note in notes if note.get("order", 0) > last)


def _refuse_failed(sweep: Sweep, fits: Mapping[str, Any]) -> None:
    statuses = {one: sweep.last_status(one) for one in fits}
    failed = {one: status for one, status in statuses.items() if status.get("state") == "failed"}
    if failed:
        listing = "\n".join(
            f"--- {one}: {status['reason']} (log: {status['log']})\n{status['error'] or ''}"
            for one, status in failed.items()
        )
        raise RuntimeError(f"{len(failed)} of {len(fits)} fits failed\n{listing}")


def _cluster(sweep: Sweep) -> Slurm:
    cluster: Slurm = config.build(sweep.whole["cluster"])
    return cluster


def _resources(sweep: Sweep, number: int) -> Resources:
    resources: Resources = config.build(sweep.runs[number]["config"]["resources"])
    return resources


def _by_resources(sweep: Sweep, numbers: Sequence[int]) -> list[tuple[Resources, list[int]]]:
    groups: dict[Resources, list[int]] = {}
    for number in numbers:
        groups.setdefault(_resources(sweep, number), []).append(number)
    return list(groups.items())
