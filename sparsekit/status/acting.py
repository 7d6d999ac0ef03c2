"""Acting on a sweep: starting again what is missing, and ending what is not done.

The only modules of this package that reach PyTorch are imported here, when needed.
"""

from __future__ import annotations

import math
import os
import signal
from collections.abc import Sequence
from pathlib import Path

from sparsekit.status.views import observed
from sparsekit.status.wording import plural
from sparsekit.store import claims
from sparsekit.sweeps import scheduler
from sparsekit.sweeps.liveness import MISSING, Observation
from sparsekit.sweeps.records import Sweep, member_of
from sparsekit.sweeps.trust import Untrusted, refuse_untrusted
from sparsekit.system.printing import say
from sparsekit.system.streams import outlive_readers

SLURM = "sparsekit.sweeps.clusters.Slurm"


class Refused(ValueError):
    """What was asked for makes no sense for the state a run is in; says what would."""


def retry(
    sweep: Sweep, numbers: Sequence[int], *, only_failed: bool = False, trusted: bool = False
) -> int:
    """Start again what is missing of these runs, or of all, where the sweep says.

    Returns what the start does: 0, or 1 where runs failed again. Refused for runs that are done or
    under way, and for sweeps that are not this user's own unless they are `trusted`: starting one
    imports and calls what its configuration names.
    """
    observations = observed(sweep)
    wanted = ("failed",) if only_failed else MISSING
    chosen = [one for one in observations if one.number in (numbers or range(len(observations)))]
    for one in chosen if numbers else ():
        _refuse(one, wanted)
    missing = [one.number for one in chosen if one.state in wanted]
    if not missing:
        print(f"nothing to try again: {_counted(observations)}")
        return 0
    _refuse_foreign(sweep, trusted=trusted)
    from sparsekit.configuration.config import ConfigError
    from sparsekit.sweeps.launch import start

    print(f"trying again {plural(len(missing), 'run')} of {sweep.name}", flush=True)
    # Runs go on even if the reader of their output is gone.
    signal.signal(signal.SIGPIPE, signal.SIG_IGN)
    outlive_readers()
    try:
        return start(sweep, missing)
    except ConfigError as error:
        raise Refused(str(error)) from error


def cancel(sweep: Sweep, numbers: Sequence[int]) -> int:
    """End what is under way of these runs, or of all, and let nobody begin what is not.

    What they have finished stays, and `retry` goes on from there. 1 where a run is at work on a
    machine that is out of reach. Refused for runs that are done.
    """
    observations = observed(sweep)
    for number in numbers:
        if observations[number].state == "done":
            raise Refused(f"run {number} is done; there is nothing to cancel")
    unfinished = [one for one in observations if one.state != "done"]
    chosen = [one for one in unfinished if one.number in numbers] if numbers else unfinished
    members = [member_of(one.number) for one in chosen]
    sweep.cancel(members)
    if is_on_slurm(sweep):
        num_jobs = _cancel_jobs(sweep, members if numbers else None)
        print(f"cancelled {plural(len(chosen), 'run')}, {plural(num_jobs, 'job')} of SLURM")
        return 0
    ended = [one for one in chosen if terminate(sweep, member_of(one.number))]
    print(f"cancelled {plural(len(chosen), 'run')}, {len(ended)} of them asked to save and end")
    far = [one for one in chosen if one.state == "running" and one not in ended]
    far = [one for one in far if _is_held(sweep, one.number)]
    for one in far:
        print(f"run {one.number} is at work on {one.last_status.get('node')}: end it there")
    return int(bool(far))


def is_on_slurm(sweep: Sweep) -> bool:
    """Say whether the runs of a sweep are jobs of SLURM."""
    return bool(sweep.frozen["cluster"]["_target_"] == SLURM)


def terminate(sweep: Sweep, member: str) -> bool:
    """Send SIGTERM to the process of this machine that is at work on a member; False for none.

    The process is held on to before its claim is looked at, and the claim must not change
    meanwhile: a number that has gone to another process is never hit.
    """
    owner = _owner(sweep, member)
    pid = int(owner.split(".")[1]) if owner else 0
    try:
        handle = os.pidfd_open(pid) if pid else None
    except ProcessLookupError:
        handle = None
    if handle is None:
        return False
    try:
        # No heartbeat is young enough: only a living process of this machine holds a claim.
        is_its_own = claims.is_held(sweep.claims, member, stale_after=-math.inf)
        if is_its_own and _owner(sweep, member) == owner:
            signal.pidfd_send_signal(handle, signal.SIGTERM)
            return True
    except ProcessLookupError:
        pass
    finally:
        os.close(handle)
    return False


def _owner(sweep: Sweep, member: str) -> str | None:
    place = sweep.claims / member
    names = sorted(os.listdir(place)) if place.is_dir() else []
    return next((name for name in names if claims.OWNER.fullmatch(name)), None)


def _is_held(sweep: Sweep, number: int) -> bool:
    return claims.is_held(sweep.claims, member_of(number), stale_after=sweep.stale_after)


def _cancel_jobs(sweep: Sweep, members: Sequence[str] | None) -> int:
    """Cancel the jobs of these members and their fits, or all of the sweep's; return how many.

    No others are submitted meanwhile.
    """
    from sparsekit.sweeps.controller import jobs_of

    with sweep.submitting():
        jobs = jobs_of(sweep, members)
        try:
            scheduler.cancel(jobs)
        except RuntimeError as error:
            raise Refused(str(error)) from error
    return len(jobs)


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
    frozen_for = Path(sweep.runs[0]["config"]["runtime"]["store"])
    if not frozen_for.is_dir() or not frozen_for.samefile(sweep.root):
        raise Refused(f"{sweep.name} was made for the store {frozen_for}, and lies in {sweep.root}")


def _counted(observations: Sequence[Observation]) -> str:
    states = [one.state for one in observations]
    return ", ".join(f"{states.count(state)} {state}" for state in dict.fromkeys(states))
