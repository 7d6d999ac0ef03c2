"""What SLURM says of jobs. Only ever a hint: whether a run is done, its results say.

`squeue` knows what waits or runs; `sacct`, if there is one, knows how a job ended.
A member of an array that is cancelled before it began is in neither.
"""

from __future__ import annotations

import dataclasses
import os
import pwd
import re
import shutil
import signal
import subprocess
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from sparsekit.system import interruption

SECONDS = 30.0
OF_COMMANDS = (
    "SLURM", "SQUEUE_", "SACCT_", "SBATCH_", "SRUN_", "SCANCEL_", "SCONTROL_", "SUBMITIT_",
)  # fmt: skip
OF_CLUSTERS = ("SLURM_CONF", "SLURM_JWT", "SLURM_SACK_")
OF_RANKS = ("MASTER_ADDR", "MASTER_PORT", "RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE")
OF_A_SESSION = "SPARSEKIT_SESSION"
FORMAT = "%i|%T|%r|%N|%U|%j|%Z"
ROW = re.compile(
    r"(?P<job>[0-9]{1,18}(?:_[0-9]{1,18})?)\|(?P<state>[A-Z_]+)\|(?P<reason>[^|]*)\|(?P<node>[^|]*)"
    r"\|(?P<uid>[0-9]{0,18})\|(?P<name>[^|]*)\|(?P<folder>.*)"
)
TEXT: Mapping[str, Any] = {"encoding": "utf-8", "errors": "replace"}  # whatever the locale is
TIME_LEFT = re.compile(r"(?:(?:(\d+)-)?(\d+):)?(\d+):(\d+)")
LIVE = ("RUNNING", "COMPLETING", "CONFIGURING", "SUSPENDED", "STOPPED", "SIGNALING", "STAGE_OUT")


@dataclasses.dataclass(frozen=True)
class Queued:
    """A job or array member in the queue: its number, state, reason, node, and the job's name.

    `uid` is the number of its user, `folder` where it was submitted from; empty if not known.
    """

    job: str
    state: str
    reason: str
    node: str
    name: str
    uid: str = ""
    folder: str = ""

    @property
    def number(self) -> str:
        """Of the job, or of the array that it is a member of."""
        return self.job.partition("_")[0]

    @property
    def index(self) -> int:
        """Place of the job in its array."""
        return int(self.job.partition("_")[2] or 0)

    @property
    def is_live(self) -> bool:
        return self.state in LIVE


@dataclasses.dataclass(frozen=True)
class Ended:
    """How a job ended: its state without details, exit code `code:signal`, the job's name."""

    state: str
    code: str
    name: str = ""

    def __str__(self) -> str:
        return f"{self.state} {self.code}"


def queue(users: Iterable[str]) -> list[Queued] | None:
    """Return all jobs of users that wait or run; None if the scheduler does not answer.

    Users are names or numbers. If one of them is not known here, such as that of a container, the
    jobs of everybody are returned, for squeue would say that there are none. Lines that are not of
    a job of ours are passed over: a job may have any name.
    """
    ids = [_user_id(user) for user in users]
    if not ids:
        return []
    whose = () if None in ids else ("-u", ",".join(sorted(set(filter(None, ids)))))
    # All partitions: jobs of ours in hidden ones would be taken for lost.
    printed = ask("squeue", "-h", "-a", "-r", *whose, "-o", FORMAT)
    if printed is None:
        return None
    rows = (ROW.fullmatch(line) for line in printed.split("\n"))
    return [Queued(**row.groupdict()) for row in rows if row is not None]


def hides_jobs_of_others() -> bool:
    """Say whether users see only their own jobs."""
    return "jobs" in _setting("PrivateData").split(",")


def _user_id(user: str) -> str | None:
    """Return the number of a user, given by name or number; None if nobody is called so here."""
    try:
        known = pwd.getpwuid(int(user)) if user.isdecimal() else pwd.getpwnam(user)
    except (KeyError, ValueError, OverflowError):
        return None
    return str(known.pw_uid)


def accounts(jobs: Iterable[str]) -> Mapping[str, Ended] | None:
    """Return how jobs ended, by number, as far as accounting knows; empty without accounting.

    None if there is one that does not answer.
    """
    asked = ",".join(sorted(set(jobs)))
    if not asked:
        return {}
    printed = ask("sacct", "-n", "-P", "-X", "-j", asked, "-o", "JobID,State,ExitCode,JobName")
    if printed is None:
        return None if _keeps_accounts() else {}
    fields = [line.split("|", 3) for line in printed.split("\n")]
    known = [one for one in fields if len(one) == 4 and one[1].strip()]
    return {job: Ended(state.split()[0], code, name) for job, state, code, name in known}


def max_array_size() -> int | None:
    """Return how many jobs an array may have; None if SLURM does not say."""
    value = _setting("MaxArraySize")
    return max(1, int(value)) if value.isdecimal() else None


def _keeps_accounts() -> bool:
    kind = _setting("AccountingStorageType")
    return shutil.which("sacct") is not None and kind not in ("", "accounting_storage/none")


def _setting(name: str) -> str:
    """Return a setting of the cluster; empty if SLURM does not tell."""
    printed = ask("scontrol", "show", "config") or ""
    found = re.search(rf"^{name}\s*=\s*(\S*)", printed, re.MULTILINE)
    return found[1] if found else ""


def seconds_left(job: str) -> float | None:
    """Return how long a job may go on before its time limit; None if there is none, or no answer.

    Asked by a job that was told to end, and has little time for it.
    """
    printed = ask("squeue", "-h", "-a", "-j", job, "-o", "%L", survive=True, seconds=10.0)
    found = TIME_LEFT.fullmatch(printed.strip()) if printed else None
    if found is None:
        return None
    days, hours, minutes, seconds = (int(part or 0) for part in found.groups())
    return ((days * 24.0 + hours) * 60 + minutes) * 60 + seconds


def requeue(job: str) -> bool:
    """Put a running job back into the queue, under its number; False where that is forbidden.

    The signal that ends our job is meant for all its processes: this one must not die of it.
    """
    return ask("scontrol", "requeue", job, survive=True) is not None


def cancel(jobs: Sequence[str]) -> None:
    """Take jobs out of the queue; RuntimeError where the scheduler says no.

    Jobs that have ended meanwhile are no reason to.
    """
    for first in range(0, len(jobs), 100):
        # Quiet: or scancel fails for a job that is not there any more.
        command = ["scancel", "--quiet", *jobs[first : first + 100]]
        done = subprocess.run(
            command, capture_output=True, check=False, env=clean_environment(), **TEXT
        )
        if done.returncode:
            raise RuntimeError(f"scancel: {done.stderr.strip()}")


def clean_environment() -> dict[str, str]:
    """Return the environment without what changes what commands of SLURM are asked.

    Those are users' own settings, such as SQUEUE_FORMAT and SBATCH_PARTITION, and what a job tells
    its processes of itself, which jobs that they submit would inherit. What names the cluster and
    the user stays.
    """
    return {
        name: value
        for name, value in os.environ.items()
        if name.startswith(OF_CLUSTERS)
        or (not name.startswith(OF_COMMANDS) and name not in (*OF_RANKS, OF_A_SESSION))
    }


def ask(*command: str, survive: bool = False, seconds: float = SECONDS) -> str | None:
    """Return what a command of SLURM prints; None if it is missing, fails or does not answer."""
    if shutil.which(command[0]) is None:
        return None
    try:
        done = subprocess.run(
            command,
            capture_output=True,
            **TEXT,
            timeout=seconds,
            check=False,
            env=clean_environment(),
            start_new_session=survive,
            preexec_fn=_deaf if survive else None,
        )
    except subprocess.TimeoutExpired:
        return None
    return done.stdout if done.returncode == 0 else None


def _deaf() -> None:
    for number in interruption.SIGNALS:
        signal.signal(number, signal.SIG_IGN)
