"""A claim that is held for a moment, while others wait for it: they say for whom, and give up."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from pathlib import Path

from sparsekit.store.claims import claim, heartbeat, holder, release
from sparsekit.system import interruption
from sparsekit.system.printing import remark

POLL_SECONDS = 0.5
SECONDS_UNTIL_TOLD = 3.0
MOST_SECONDS = 330.0
"""Longer than a holder waits for SLURM in vain, shorter than the time limit of a controller."""


class StillHeld(RuntimeError):
    """Somebody holds what was waited for, and has held it for too long."""


@contextlib.contextmanager
def holding(work: Path, key: str, *, stale_after: float, what: str) -> Iterator[None]:
    """Hold a claim while the block runs; `what` is said to be waited for.

    Raises StillHeld when the same process has held it for `MOST_SECONDS`, and Stopped when this
    one is asked to end meanwhile.
    """
    who, since, is_told = "", time.monotonic(), False
    while (held := claim(work, key, stale_after=stale_after)) is None:
        interruption.check()
        seconds = time.monotonic() - since
        if (now := holder(work, key)) != who:
            who, since, is_told = now, time.monotonic(), False
        elif seconds > MOST_SECONDS:
            raise StillHeld(f"{what}: given up after {seconds:.0f} s of waiting for {_told(who)}")
        elif seconds > SECONDS_UNTIL_TOLD and not is_told:
            remark(f"{what}: waiting for {_told(who)}, which is at it")
            is_told = True
        time.sleep(POLL_SECONDS)
    try:
        with heartbeat(held):
            yield
    finally:
        release(held)


def _told(who: str) -> str:
    return who or "another process"
