"""What SLURM says of jobs. Only ever a hint: whether a run is done, its results say.

`squeue` knows what waits or runs; `sacct`, if there is one, knows how a job ended.
A member of an array that is cancelled before it began is in neither.
"""

from __future__ import annotations

import dataclasses
import shutil
import signal
import subprocess
from collections.abc import Iterable, Mapping, Sequence

SECONDS = 30.0
LIVE = ("RUNNING", "COMPLETING", "CONFIGURING", "SUSPENDED", "STOPPED", "SIGNALING", "STAGE_OUT")


@dataclasses.dataclass(frozen=True)
class Queued:
    """A job or array member in the queue: its number, state, reason, node, and the job's name."""

    job: str
    state: str
    reason: str
    node: str
    name: str

    @property
    def is_live(self) -> bool:
        return self.state in LIVE


@dataclasses.dataclass(frozen=True)
class Ended:
    """How a job ended: its state without details, and exit code `code:signal`."""

    state: str
    code: str

    def __str__(self) -> str:
        return f"{self.state} {self.code}"


def queue(user: str) -> list[Queued] | None:
    """Return all jobs of a user that wait or run; None if the scheduler does not answer."""
    printed = ask("squeue", "-h", "-r", "-u", user, "-o", "%i|%T|%r|%N|%j")
    if printed is None:
        return None
    return [Queued(*line.split("|", 4)) for line in printed.splitlines() if line.count("|") >= 4]


def accounts(jobs: Iterable[str]) -> Mapping[str, Ended]:
    """Return how jobs ended, by number, as far as accounting knows; empty without accounting."""
    asked = ",".join(sorted(set(jobs)))
    if not asked:
        return {}
    printed = ask("sacct", "-n", "-P", "-X", "-j", asked, "-o", "JobID,State,ExitCode")
    fields = [line.split("|") for line in (printed or "").splitlines()]
    return {one[0]: Ended(one[1].split()[0], one[2]) for one in fields if len(one) == 3}


def requeue(job: str) -> bool:
    """Put a running job back into the queue, under its number; False where that is forbidden.

    The signal that ends our job is meant for all its processes: this one must not die of it.
    """
    return ask("scontrol", "requeue", job, survive=True) is not None


def cancel(jobs: Sequence[str]) -> None:
    """Take jobs out of the queue; RuntimeError where the scheduler says no."""
    for first in range(0, len(jobs), 100):
        command = ["scancel", *jobs[first : first + 100]]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise RuntimeError(f"scancel: {done.stderr.strip()}")


def ask(*command: str, survive: bool = False) -> str | None:
    """Return what a command of SLURM prints; None if it is missing, fails or does not answer."""
    if shutil.which(command[0]) is None:
        return None
    try:
        done = subprocess.run(
            command,
            capture_output=True,
            text=True,
            timeout=SECONDS,
            check=False,
            start_new_session=survive,
            preexec_fn=_deaf if survive else None,
        )
    except subprocess.TimeoutExpired:
        return None
    return done.stdout if done.returncode == 0 else None


def _deaf() -> None:
    for number in (signal.SIGTERM, signal.SIGUSR2):
        signal.signal(number, signal.SIG_IGN)
