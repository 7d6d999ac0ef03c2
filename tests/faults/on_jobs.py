"""Faults that hit one job, or all that are at work."""

from __future__ import annotations

import contextlib
import datetime
import math
import resource
import signal
from collections.abc import Sequence
from typing import TypeVar

from tests.faults.drawing import Draw
from tests.faults.victims import Victim
from tests.faults.world import Asked, World

Item = TypeVar("Item")
Hit = Sequence[int] | None
DISK, UNLIMITED = resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY)


def picked(items: Sequence[Item], draw: Draw) -> Item | None:
    """Return the drawn one of these; None where there is none."""
    return items[int(draw.victim * len(items))] if items else None


def killed(world: World, draw: Draw) -> Hit:
    """Kill the process that is at work on a run or fit."""
    found = picked(world.at_work(), draw)
    if found is None:
        return None
    found[1].signal(signal.SIGKILL)
    return [found[0].number]


def terminated(world: World, draw: Draw) -> Hit:
    """Send SIGTERM alone, which is how SLURM warns by default."""
    return _told(world, draw, "scancel", "--signal=TERM")


def warned(world: World, draw: Draw) -> Hit:
    """Send the warning before a time limit."""
    return _told(world, draw, "scancel", "--signal=USR2")


def requeued(world: World, draw: Draw) -> Hit:
    """Put a running job back into the queue."""
    return _told(world, draw, "scontrol", "requeue")


def cancelled(world: World, draw: Draw) -> Hit:
    """Cancel a running job; half a minute later, at most, somebody retries it."""
    hit = _told(world, draw, "scancel")
    for number in hit or ():
        retry_later(world, world.asked[number], draw)
    return hit


def retry_later(world: World, asked: Asked, draw: Draw) -> None:
    """Let somebody type `status retry` in half a minute at most."""
    assert asked.sweep is not None
    name = asked.sweep.name
    world.heal(lambda: world.status_beside(asked, "retry", name), after=5 + 25 * draw.moment)


def out_of_time(world: World, draw: Draw) -> Hit:
    """Let a job reach its time limit in one or two minutes; later ones are as long as before."""
    found = picked(world.at_work(), draw)
    if found is None or not world.answers:
        return None
    job = found[1].job
    told = world.cluster.run("squeue", "--noheader", f"--jobs={job}", "--format=%M %l").split()
    if len(told) != 2:
        return None
    minutes = math.ceil(_seconds(told[0]) / 60) + 1
    world.cluster.run("scontrol", "update", f"jobid={job}", f"timelimit={minutes}")

    def restore() -> None:
        with contextlib.suppress(RuntimeError):
            world.cluster.run("scontrol", "update", f"jobid={job}", f"timelimit={told[1]}")

    world.heal(restore, after=120)
    return [found[0].number]


def _seconds(elapsed: str) -> float:
    """Return what squeue writes as MINUTES:SECONDS or HOURS:MINUTES:SECONDS."""
    seconds = 0
    for part in elapsed.split(":"):
        seconds = 60 * seconds + int(part)
    return datetime.timedelta(seconds=seconds).total_seconds()


def suspended(world: World, draw: Draw) -> Hit:
    """Stop a process for a while, as a machine that swaps does, and let it go on."""
    found = picked(world.at_work(), draw)
    if found is None:
        return None
    found[1].signal(signal.SIGSTOP)
    action = lambda: found[1].signal(signal.SIGCONT)  # noqa: E731
    world.heal(action, after=2 + 18 * draw.moment, needs_slurm=False)
    return [found[0].number]


def disk_full(world: World, draw: Draw) -> Hit:
    """Refuse what the jobs at work write, all of them, for some seconds."""
    found = world.at_work()
    if not found:
        return None
    for _, victim in found:
        _limit_files(victim, (0, resource.RLIM_INFINITY))

    def empty() -> None:
        for _, victim in found:
            _limit_files(victim, UNLIMITED)

    world.heal(empty, after=1 + 5 * draw.moment, needs_slurm=False)
    return [asked.number for asked, _ in found]


def _limit_files(victim: Victim, limit: tuple[int, int]) -> None:
    with contextlib.suppress(ProcessLookupError):
        resource.prlimit(victim.pid, DISK, limit)


def _told(world: World, draw: Draw, *command: str) -> Hit:
    found = picked(world.at_work(), draw)
    if found is None or not world.answers:
        return None
    world.cluster.run(*command, found[1].job)
    return [found[0].number]
