"""What people type, at the wrong moment; and what becomes of commands and small jobs."""

from __future__ import annotations

from sparsekit.sweeps.records import Sweep
from tests.faults.drawing import Draw
from tests.faults.on_jobs import Hit, picked, retry_later
from tests.faults.world import Asked, World

SMALL = ("controller", "watchdog")


def submitter_killed(world: World, draw: Draw) -> Hit:
    """Kill a command at some moment while it composes, freezes or submits; it is typed again."""
    if not world.answers:
        return None
    asked = world.ask()
    world.rest(draw.moment * world.submitting_seconds)
    assert asked.process is not None
    asked.process.kill()
    asked.process.wait()
    return [asked.number]


def submitted_twice(world: World, draw: Draw) -> Hit:
    """Type a new sweep twice at once."""
    if not world.answers:
        return None
    asked = world.ask()
    world.submit_beside(asked)
    return [asked.number]


def typed_again(world: World, draw: Draw) -> Hit:
    """Type the command of a sweep that is under way."""
    asked = picked(_under_way(world), draw)
    if asked is None or not world.answers:
        return None
    world.submit_beside(asked)
    return [asked.number]


def retried_at_work(world: World, draw: Draw) -> Hit:
    """Type `status retry` while jobs are at work."""
    found = picked(world.at_work(), draw)
    if found is None or not world.answers:
        return None
    world.status_beside(found[0], "retry", found[1].sweep.name)
    return [found[0].number]


def cancelled_by_command(world: World, draw: Draw) -> Hit:
    """Type `status cancel` for a sweep that is at work, and soon after `status retry`."""
    found = picked(world.at_work(), draw)
    if found is None or not world.answers:
        return None
    world.status_beside(found[0], "cancel", found[1].sweep.name)
    retry_later(world, found[0], draw)
    return [found[0].number]


def small_job_cancelled(world: World, draw: Draw) -> Hit:
    """Cancel a controller or a watchdog, whether it waits or runs."""
    if not world.answers:
        return None
    rows = world.cluster.jobs()
    small = [
        (asked, row.job)
        for asked in _under_way(world)
        if asked.sweep is not None
        for row in rows
        if asked.sweep.submission_of(row.name) in _small(asked.sweep)
    ]
    found = picked(small, draw)
    if found is None:
        return None
    world.cluster.run("scancel", found[1])
    return [found[0].number]


def _small(sweep: Sweep) -> set[str]:
    return {note["id"] for note in sweep.submissions() if note["kind"] in SMALL}


def garbage_deleted(world: World, draw: Draw) -> Hit:
    """Type `status gc --delete`, of whatever age, while runs are at work."""
    at_work = world.at_work()
    if not at_work:
        return None
    world.status(None, "gc", "--delete", "--days", "0")
    return [asked.number for asked, _ in at_work]


def _under_way(world: World) -> list[Asked]:
    return [one for one in world.asked if one.sweep is not None and not one.is_over]
