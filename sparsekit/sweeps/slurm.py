"""Sweeps as job arrays of SLURM, and the fits of a cycle as jobs of their own."""

from __future__ import annotations

import dataclasses
import os
import shlex
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from sparsekit.sweeps import batch, scheduler
from sparsekit.sweeps.clusters import Slurm
from sparsekit.sweeps.entries import Entry, write_entries
from sparsekit.sweeps.records import Sweep
from sparsekit.sweeps.resources import Resources
from sparsekit.sweeps.trust import code_digest, snapshot_of
from sparsekit.sweeps.withdrawal import withdraw

BEGIN = (
    "import os, signal as s, sys; s.pthread_sigmask(s.SIG_BLOCK, (s.SIGUSR2, s.SIGTERM, s.SIGHUP));"
    " given = sys.orig_argv; at = given.index('-ISc');"
    " os.execv(sys.executable, given[:at] + given[at + 2:])"
)
"""Python that begins anew with the signals held back: a job that is warned while Python itself and
what it imports are still read, for seconds on a busy file system, would die of it. In a few
milliseconds it is where it could not; the signals come in when the job listens."""
CONTROLLER = Resources(memory_gb=2.0, minutes=10)


def submit_members(
    sweep: Sweep,
    members: Sequence[str],
    entries: Sequence[Entry],
    *,
    cluster: Slurm,
    resources: Resources,
    kind: str = "runs",
    after: Sequence[str] = (),
    delay: int | None = None,
) -> list[str]:
    """Return the numbers of the submitted arrays of `entries`, one of them for each member.

    They begin when the jobs `after` have ended, however those did; not before `delay` seconds.
    """
    options = {**_options(cluster, resources), **_when(after, delay)}
    srun = [*_srun(resources), *cluster.srun]
    most = scheduler.max_array_size() if len(members) > 1 else None
    size = min(cluster.array_size, most or cluster.array_size)
    jobs = []
    for first in range(0, len(members), size):
        chunk = slice(first, first + size)
        jobs.append(_submit(sweep, kind, members[chunk], entries[chunk], options, srun, cluster))
    return jobs


def submit_controller(
    sweep: Sweep,
    entry: Entry,
    *,
    cluster: Slurm,
    kind: str = "controller",
    after: Sequence[str] = (),
    delay: int | None = None,
) -> str:
    """Return the number of the small job that begins when the jobs `after` have ended, however
    they did; not before `delay` seconds."""
    # It needs what runs Python in a job, not the nodes and devices that training needs.
    plain = dataclasses.replace(cluster, constraint=None, options=cluster.controller)
    options = {**_options(plain, CONTROLLER), "signal": "USR2@1", **_when(after, delay)}
    srun = [*_srun(CONTROLLER), *cluster.srun]
    return _submit(sweep, kind, [kind], [entry], options, srun, cluster)


def _submit(
    sweep: Sweep,
    kind: str,
    members: Sequence[str],
    entries: Sequence[Entry],
    options: Mapping[str, Any],
    srun: Sequence[str],
    cluster: Slurm,
) -> str:
    note = sweep.submit(kind, members, folder=str(options.get("chdir", os.getcwd())))
    folder, is_array = sweep.folder.absolute() / "jobs", len(entries) > 1
    file = folder / f"{note['id']}.json"
    named = {**options, "job-name": sweep.job_name(note["id"])}
    named["output"] = batch.log_pattern(folder, is_array=is_array)
    if is_array:
        at_once = min(len(entries), cluster.parallelism or cluster.array_size)
        named["array"] = f"0-{len(entries) - 1}%{at_once}"
    try:
        code = code_digest(sweep)
        digest = write_entries(file, [{**entry, "code": code} for entry in entries])
        text = batch.script(
            _command(cluster, sweep.folder.absolute(), note["id"], digest),
            setup=[*_from_snapshot(sweep), *cluster.setup],
            srun=srun,
            output=batch.log_pattern(folder, is_array=is_array, task="%t"),
        )
        number = batch.submit(named, text)
    except Exception:
        withdraw(sweep, [note])
        raise
    sweep.submitted(note, number)
    return number


def _command(cluster: Slurm, folder: Path, submission: str, digest: str) -> str:
    """Return the shell command of a job; `cluster.python` may be more than one word."""
    python = shlex.quote(sys.executable) if cluster.python is None else cluster.python
    job = f"-u -m sparsekit.sweeps.job {shlex.quote(str(folder))} {submission} {digest}"
    return f"{python} -ISc {shlex.quote(BEGIN)} {job}"


def _options(cluster: Slurm, resources: Resources) -> dict[str, Any]:
    """Return sbatch's options. Jobs are requeued, unless `cluster.options` say no-requeue."""
    named = ("partition", "account", "qos", "constraint")
    chosen = {name: value for name in named if (value := getattr(cluster, name)) is not None}
    options = {
        **chosen,
        "time": resources.minutes,
        "cpus-per-task": resources.cpus,
        "mem": f"{round(resources.memory_gb * 1024)}M",
        "nodes": resources.nodes,
        "ntasks-per-node": 1,
        "signal": f"USR2@{cluster.signal_seconds}",
        "open-mode": "append",
        "requeue": True,
        **({"gpus-per-node": resources.gpus} if resources.gpus else {}),
        **{name.replace("_", "-"): value for name, value in cluster.options.items()},
    }
    if options.get("no-requeue"):
        del options["requeue"]
    return options


def _srun(resources: Resources) -> list[str]:
    """Return options of srun. A lost node ends the job; the next attempt gets a full set."""
    together = ["--kill-on-bad-exit=1"] if resources.nodes > 1 else []
    return ["--cpus-per-task", str(resources.cpus), *together]


def _when(after: Sequence[str], delay: int | None) -> dict[str, str]:
    dependency = {"dependency": "afterany:" + ":".join(after)} if after else {}
    return dependency if delay is None else {**dependency, "begin": f"now+{delay}"}


def _from_snapshot(sweep: Sweep) -> list[str]:
    """Return shell lines that make a job run the code as it was when the sweep was started."""
    place = snapshot_of(sweep)
    if place is None:
        return []
    if not place.is_dir():
        raise batch.Refused(f"{place} is missing, the code that {sweep.name} was started with")
    # Where the job begins there may be the same modules, as they are now: Python is not to look.
    found_first = f"{shlex.quote(str(place))}${{PYTHONPATH:+:$PYTHONPATH}}"
    return ["export PYTHONSAFEPATH=1", f"export PYTHONPATH={found_first}"]
