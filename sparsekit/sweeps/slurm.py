"""Sweeps as job arrays of SLURM, by submitit; and the fits of a cycle as jobs of their own.

submitit writes the scripts and starts the functions. Nothing else of it is relied on: not its
handlers of signals, its checkpoints, the states it reports, nor its pickled results.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import shlex
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import submitit

from sparsekit.sweeps.clusters import Slurm
from sparsekit.sweeps.records import Sweep
from sparsekit.sweeps.resources import Resources

PREFIX = "sparsekit"
CONTROLLER = Resources(memory_gb=2.0, minutes=10)
Entry = Callable[[], None]


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
    """Submit arrays of `entries`, one for each member; return the numbers of the jobs.

    They begin when the jobs `after` have ended, in whatever state, and not before `delay` seconds.
    """
    jobs = []
    for first in range(0, len(members), cluster.array_size):
        chunk = slice(first, first + cluster.array_size)
        parameters = {**_parameters(cluster, resources), **_dependency(after)}
        parameters["additional_parameters"] |= _begin(delay)
        jobs.append(_submit(sweep, kind, members[chunk], entries[chunk], parameters, cluster))
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
    """Submit the small job that begins when the jobs `after` have ended; return its number.

    In whatever state they ended, and not before `delay` seconds.
    """
    # It needs what runs Python in a job, not the nodes and devices that training needs.
    plain = dataclasses.replace(cluster, constraint=None, options={})
    parameters = _parameters(plain, CONTROLLER)
    parameters["additional_parameters"] |= {**_sbatch_names(cluster.controller), **_begin(delay)}
    parameters |= {"signal_delay_s": 1, **_dependency(after)}
    return _submit(sweep, kind, [kind], [entry], parameters, cluster)


def _submit(
    sweep: Sweep,
    kind: str,
    members: Sequence[str],
    entries: Sequence[Entry],
    parameters: Mapping[str, Any],
    cluster: Slurm,
) -> str:
    note = sweep.submit(kind, members)
    executor = submitit.SlurmExecutor(sweep.folder / "jobs", python=cluster.python)
    named = {**parameters, "job_name": f"{PREFIX}.{sweep.name}.{note['id']}"}
    executor.update_parameters(**named, setup=[*_from_snapshot(sweep), *cluster.setup])
    try:
        with _clean_environment():
            if len(entries) == 1:
                jobs = [executor.submit(entries[0])]
            else:
                with executor.batch():
                    jobs = [executor.submit(entry) for entry in entries]
    except Exception as error:
        sweep.unsubmit(note)
        raise RuntimeError(f"SLURM refuses the jobs: {_last_line(error)}") from error
    number = jobs[0].job_id.partition("_")[0]
    sweep.submitted(note, number)
    return number


def _parameters(cluster: Slurm, resources: Resources) -> dict[str, Any]:
    named = ("partition", "account", "qos", "constraint")
    chosen = {name: value for name in named if (value := getattr(cluster, name)) is not None}
    parameters = {
        **chosen,
        "time": resources.minutes,
        "cpus_per_task": resources.cpus,
        "mem": f"{round(resources.memory_gb * 1024)}M",
        "nodes": resources.nodes,
        "ntasks_per_node": 1,
        "signal_delay_s": cluster.signal_seconds,
        "stderr_to_stdout": True,
        "srun_args": [*_srun(resources), *cluster.srun],
        "array_parallelism": cluster.parallelism or cluster.array_size,
        "additional_parameters": _options(cluster),
    }
    if resources.gpus:
        parameters["gpus_per_node"] = resources.gpus
    return parameters


def _srun(resources: Resources) -> list[str]:
    """Let a lost node end the job; the next attempt gets as many nodes as it needs."""
    together = ["--kill-on-bad-exit=1"] if resources.nodes > 1 else []
    return ["--cpus-per-task", str(resources.cpus), *together]


def _options(cluster: Slurm) -> dict[str, Any]:
    """Let jobs be requeued, unless the options say no-requeue; false turns a flag off."""
    options = {"requeue": True, **_sbatch_names(cluster.options)}
    if options.get("no-requeue"):
        del options["requeue"]
    return {name: value for name, value in options.items() if value is not False}


def _dependency(after: Sequence[str]) -> dict[str, str]:
    return {"dependency": "afterany:" + ":".join(after)} if after else {}


def _from_snapshot(sweep: Sweep) -> list[str]:
    """Return shell lines that make a job run the code as it was when the sweep was started."""
    place = sweep.frozen["code"]["snapshot"]
    if place is None:
        return []
    quoted = shlex.quote(place)
    return [f"cd {quoted}", f"export PYTHONPATH={quoted}:$PYTHONPATH"]


def _begin(delay: int | None) -> dict[str, str]:
    return {} if delay is None else {"begin": f"now+{delay}"}


def _sbatch_names(options: Mapping[str, Any]) -> dict[str, Any]:
    return {name.replace("_", "-"): value for name, value in options.items()}


@contextlib.contextmanager
def _clean_environment() -> Iterator[None]:
    """Hide what a job tells its processes of itself: the jobs they submit would inherit it.

    SLURM_CONF stays. SPARSEKIT_SESSION, which tells one process's results from another's, does not.
    """
    configuration = os.environ.get("SLURM_CONF")
    session = os.environ.pop("SPARSEKIT_SESSION", None)
    with submitit.helpers.clean_env():
        if configuration is not None:
            os.environ["SLURM_CONF"] = configuration
        yield
    if session is not None:
        os.environ["SPARSEKIT_SESSION"] = session


def _last_line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    errors = [line for line in lines if "sbatch: error:" in line]
    return " ".join(errors or lines[-1:]) or type(error).__name__
