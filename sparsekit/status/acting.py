"""Acting on a sweep: starting again what is missing, and ending what is not done.

The only modules of this package that reach PyTorch are imported here, when needed.
"""

from __future__ import annotations

import math
import os
import signal
from collections.abc import Sequence

from sparsekit.status.pages import PROGRAM, store_option
from sparsekit.status.wording import plural
from sparsekit.store import claims
from sparsekit.store.signatures import is_command_of, signature
from sparsekit.sweeps import scheduler
from sparsekit.sweeps.jobs import is_on_slurm, jobs_of, may_cancel
from sparsekit.sweeps.liveness import MISSING, Observation, observe
from sparsekit.sweeps.records import Sweep, member_of
from sparsekit.sweeps.scheduler import Queued
from sparsekit.sweeps.trust import Untrusted, refuse_untrusted
from sparsekit.system.printing import say
from sparsekit.system.streams import outlive_readers
from sparsekit.system.users import name_of, user_name


class Refused(ValueError):
    """What was asked for makes no sense for the state a run is in; says what would."""


def retry(
    sweep: Sweep, numbers: Sequence[int], *, only_failed: bool = False, trusted: bool = False
) -> int:
    """Start again what is missing of these runs, or of all, where the sweep says.

    Returns what the start does: 0, or 1 where runs failed again. Refused for runs that are done or
    under way, in a copy, and for sweeps that are not this user's own unless they are `trusted`:
    starting one imports and calls what its configuration names. On SLURM the jobs are this user's.
    """
    _refuse_copy(sweep)
    observations = observe(sweep, stale_after=sweep.stale_after)
    wanted = ("failed",) if only_failed else MISSING
    chosen = [one for one in observations if one.number in (numbers or range(len(observations)))]
    for one in chosen if numbers else ():
        _refuse(one, wanted)
    missing = [one.number for one in chosen if one.state in wanted]
    if not missing:
        say(f"nothing to try again: {_counted(observations)}")
        return 0
    _refuse_foreign(sweep, trusted=trusted)
    from sparsekit.configuration.config import ConfigError
    from sparsekit.sweeps.launch import start

    say(f"trying again {plural(len(missing), 'run')} of {sweep.name}")
    # Runs go on even if the reader of their output is gone.
    signal.signal(signal.SIGPIPE, signal.SIG_IGN)
    outlive_readers()
    try:
        return start(sweep, missing)
    except ConfigError as error:
        raise Refused(str(error)) from error


def cancel(sweep: Sweep, numbers: Sequence[int]) -> int:
    """End what is under way of these runs, or of all, and let nobody begin what is not.

    What they have finished stays, and `retry` goes on from there. 1 where a job is another user's,
    or a run is at work where it cannot be reached. Refused for runs that are done, and in a copy.
    """
    _refuse_copy(sweep)
    observations = observe(sweep, stale_after=sweep.stale_after)
    for number in numbers:
        if observations[number].state == "done":
            raise Refused(f"run {number} is done; there is nothing to cancel")
    unfinished = [one for one in observations if one.state != "done"]
    chosen = [one for one in unfinished if one.number in numbers] if numbers else unfinished
    members = [member_of(one.number) for one in chosen]
    sweep.cancel(members)
    ours, others = _cancel_jobs(sweep, members if numbers else None)
    apart = [one for one in chosen if one.last_status.get("job") not in ours]
    ended = [one for one in apart if terminate(sweep, member_of(one.number))]
    parts = [f"cancelled {plural(len(chosen), 'run')}"]
    if ours or is_on_slurm(sweep):
        parts.append(f"{plural(len(ours), 'job')} of SLURM")
    if ended or not is_on_slurm(sweep):
        parts.append(f"{len(ended)} of them asked to save and end")
    say(", ".join(parts))
    left = [f"job {one.job} is {name_of(int(one.uid))}'s, who alone can end it" for one in others]
    theirs = [one.job for one in others]
    at_work = [one for one in apart if one.state == "running" and one not in ended]
    at_work = [one for one in at_work if one.last_status.get("job") not in theirs]
    left += [_why_not(sweep, one) for one in at_work if _is_held(sweep, one.number)]
    for text in left:
        say(text)
    return int(bool(left))


def terminate(sweep: Sweep, member: str) -> bool:
    """Send SIGTERM to the process of this machine that is at work on a member; False for none.

    The process is held on to before its claim is looked at, and the claim must not change
    meanwhile: a number that has gone to another process is never hit. Nor is a process that is not
    the command that made the claim, one that made it in another store, or another user's.
    """
    owner = _owner(sweep, member)
    pid = int(owner.split(".")[1]) if owner else 0
    try:
        handle = os.pidfd_open(pid) if pid else None
    except ProcessLookupError:
        handle = None
    if owner is None or handle is None or sweep.original is not None:
        return False
    try:
        # No heartbeat is young enough: only a living process of this machine holds a claim.
        is_alive = claims.is_held(sweep.claims, member, stale_after=-math.inf)
        is_its_own = is_alive and is_command_of(sweep.claims / member / owner, pid)
        if is_its_own and _owner(sweep, member) == owner:
            signal.pidfd_send_signal(handle, signal.SIGTERM)
            return True
    except (ProcessLookupError, PermissionError):
        pass
    finally:
        os.close(handle)
    return False


def _why_not(sweep: Sweep, one: Observation) -> str:
    """Say who is at work on a run that could not be ended from here."""
    owner = _owner(sweep, member_of(one.number)) or ""
    user = signature(sweep.claims / member_of(one.number) / owner).get("user")
    node = one.last_status.get("node")
    if user not in (None, user_name()):
        return f"run {one.number} is at work on {node} for {user}, who alone can end it"
    return f"run {one.number} is at work on {node}: end it there"


def _owner(sweep: Sweep, member: str) -> str | None:
    place = sweep.claims / member
    names = sorted(os.listdir(place)) if place.is_dir() else []
    return next((name for name in names if claims.OWNER.fullmatch(name)), None)


def _is_held(sweep: Sweep, number: int) -> bool:
    return claims.is_held(sweep.claims, member_of(number), stale_after=sweep.stale_after)


def _cancel_jobs(sweep: Sweep, members: Sequence[str] | None) -> tuple[list[str], list[Queued]]:
    """Cancel the jobs of these members and their fits, or all of the sweep's, that are this user's.

    Return their numbers, and the jobs that are other users'. No others are submitted meanwhile.
    """
    if not sweep.submissions():
        return [], []
    try:
        with sweep.submitting():
            jobs = jobs_of(sweep, members)
            ours = [one.job for one in jobs if may_cancel(one)]
            scheduler.cancel(ours)
    except RuntimeError as error:
        raise Refused(str(error)) from error
    return ours, [one for one in jobs if not may_cancel(one)]


def _refuse(one: Observation, wanted: Sequence[str]) -> None:
    if one.state == "done":
        raise Refused(f"run {one.number} is done; only what is missing is tried again")
    if one.is_live:
        raise Refused(f"run {one.number} is {one.state}; cancel it before you try it again")
    if one.state not in wanted:
        raise Refused(f"run {one.number} is {one.state}, not failed; leave out --failed")


def _refuse_foreign(sweep: Sweep, *, trusted: bool) -> None:
    try:
        refuse_untrusted(sweep)
    except Untrusted as error:
        if not trusted:
            raise Refused(f"{error}: --trust if you trust whoever wrote that") from error
        say(f"trusted, as you say: {error}")


def _refuse_copy(sweep: Sweep) -> None:
    if sweep.original is not None:
        raise Refused(
            f"{sweep.root} is a copy of {sweep.original}, whose jobs and processes are left alone; "
            f"make it a store of its own first: {PROGRAM} adopt{store_option(sweep.root)}"
        )


def _counted(observations: Sequence[Observation]) -> str:
    states = [one.state for one in observations]
    return ", ".join(f"{states.count(state)} {state}" for state in dict.fromkeys(states))
