"""Who is at work on what, so that it can be disturbed: processes that hold a claim, no others."""

from __future__ import annotations

import contextlib
import dataclasses
import math
import os
import signal

from sparsekit.store import claims
from sparsekit.sweeps.records import SUBMISSION, Sweep


@dataclasses.dataclass(frozen=True)
class Victim:
    """A process at work on a member of a sweep, in which job on which node."""

    sweep: Sweep
    member: str
    pid: int
    job: str
    node: str

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to the process, if it is still there."""
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, number)

    def is_there(self) -> bool:
        """Tell whether that very process still lives, and works there."""
        # No heartbeat is young enough: what counts is the process, by its number and its age.
        return claims.is_held(self.sweep.claims, self.member, stale_after=-math.inf)


def at_work(sweep: Sweep) -> list[Victim]:
    """Return who is at work on a member of a sweep in a job, and has said so."""
    names = sorted(os.listdir(sweep.claims)) if sweep.claims.is_dir() else []
    members = [name for name in names if name != SUBMISSION and not name.startswith(".")]
    found = [_victim(sweep, member) for member in members]
    return [victim for victim in found if victim is not None and victim.is_there()]


def _victim(sweep: Sweep, member: str) -> Victim | None:
    try:
        names = os.listdir(sweep.claims / member)
        status = sweep.last_status(member)
    except (FileNotFoundError, ValueError):
        return None
    owners = [name for name in names if claims.OWNER.fullmatch(name)]
    if not owners or not status.get("job") or f".{status['pid']}." not in owners[0]:
        return None
    return Victim(sweep, member, status["pid"], status["job"], status["node"])
