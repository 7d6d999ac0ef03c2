"""Starting the runs of a sweep: check, freeze, and hand them to where they are computed."""

from __future__ import annotations

import dataclasses
import os
import shlex
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from sparsekit.configuration import config
from sparsekit.configuration.compose import Run, deciding
from sparsekit.configuration.config import ConfigError
from sparsekit.configuration.unpublishable import refuse_secrets
from sparsekit.runs.planning import unstored
from sparsekit.runs.recording import restate
from sparsekit.runs.runner import PreparedRun, prepare_run, rehearse_all, require_stores
from sparsekit.runs.telling import conclude
from sparsekit.store.store import Store
from sparsekit.sweeps.clusters import Inline, Local, Slurm
from sparsekit.sweeps.differences import differing
from sparsekit.sweeps.freezing import freeze, settle
from sparsekit.sweeps.inline import run_inline
from sparsekit.sweeps.page import publish_page
from sparsekit.sweeps.pool import run_pool
from sparsekit.sweeps.private import NotReadable
from sparsekit.sweeps.records import Sweep, member_of
from sparsekit.sweeps.resources import Resources
from sparsekit.sweeps.snapshot import provenance, take_snapshot
from sparsekit.sweeps.trust import CODE
from sparsekit.system import interruption
from sparsekit.system.executors import workers
from sparsekit.system.fit_jobs import FitJobs
from sparsekit.system.gpus import visible_gpus
from sparsekit.system.printing import remark, say
from sparsekit.system.users import user_name

STOPPED = 143


def launch(runs: Sequence[Run], *, command: str, label: str | None = None) -> int:
    """Check, rehearse and freeze these runs as one sweep, and start it where they say.

    0: all finished, or all are queued; 1: some failed; 143: asked to end. Nothing is started
    unless all can be.
    """
    for run in runs:
        refuse_secrets(run.config, deciding(run.config))
    prepared_runs = [prepare_run(run) for run in runs]
    cluster = _refuse_mixed(prepared_runs)
    require_stores(prepared_runs)
    rehearse_all(unstored(prepared_runs))
    root = prepared_runs[0].store.root.absolute()
    content = {
        "created": time.time(),
        "command": command,
        "folder": os.getcwd(),
        "user": user_name(),
        "cluster": runs[0].config["cluster"],
        "code": {**provenance(), "snapshot": None},
        "runs": _frozen(prepared_runs),
    }
    original = settle(root)
    if original is not None:
        remark(f"{root} is a copy of {original}; from now on it is a store of its own")
    sweep = freeze(root, label or _label(runs), content)
    if isinstance(cluster, Slurm) and cluster.snapshot:
        try:
            place = take_snapshot(sweep.folder / CODE, store=root)
        except (OSError, ValueError) as error:
            raise ConfigError(f"cluster.snapshot=true: {error}") from error
        code = {**content["code"], "snapshot": str(place)}
        sweep = freeze(root, label or _label(runs), {**content, "code": code})
    restate(prepared_runs)
    return start(sweep, range(len(prepared_runs)))


def start(sweep: Sweep, numbers: Sequence[int]) -> int:
    """Start runs of a frozen sweep, or start them again, where it says."""
    try:
        cluster = config.build(sweep.whole["cluster"])
    except NotReadable as error:
        raise ConfigError(str(error)) from error
    return WAYS[type(cluster)](sweep, numbers, cluster)


def _inline(sweep: Sweep, numbers: Sequence[int], cluster: Inline) -> int:
    sweep.reset([member_of(number) for number in numbers])
    return _finish(sweep, run_inline(sweep, numbers), num_runs=len(numbers))


def _local(sweep: Sweep, numbers: Sequence[int], cluster: Local) -> int:
    sweep.reset([member_of(number) for number in numbers])
    remark(f"{sweep.name}: {cluster.processes} processes; {_look(sweep)}")
    states = run_pool(sweep, numbers, cluster)
    done = [number for number, state in states.items() if state == "done"]
    records = [_with_path(sweep, number) for number in done]
    return _finish(sweep, records, num_runs=len(numbers))


def _slurm(sweep: Sweep, numbers: Sequence[int], cluster: Slurm) -> int:
    from sparsekit.sweeps.controller import ensure_controller, observe_settled, submit_runs

    try:
        with sweep.submitting():
            observed = [one for one in observe_settled(sweep) if one.number in set(numbers)]
            missing = [one.number for one in observed if one.is_missing]
            sweep.reset([member_of(number) for number in missing])
            jobs = submit_runs(sweep, missing) if missing else []
            ensure_controller(sweep)
    except RuntimeError as error:
        raise ConfigError(str(error)) from error
    done = sum(one.state == "done" for one in observed)
    live = sum(one.is_live for one in observed)
    say(f"sweep {sweep.name}: {len(observed)} runs, {done} done, {live} under way already")
    say(f"{len(missing)} submitted as {_arrays(jobs)}" if jobs else "nothing to submit")
    say(_look(sweep))
    return 0


WAYS: Mapping[type, Callable[[Sweep, Sequence[int], Any], int]] = {
    Inline: _inline,
    Local: _local,
    Slurm: _slurm,
}


def _refuse_mixed(prepared_runs: Sequence[PreparedRun]) -> Any:
    """Return the one cluster of all runs; ConfigError for what would be ignored or cannot work."""
    for key, place in (("cluster", "cluster"), ("store", "runtime.store")):
        values = [_chosen(prepared.run, key) for prepared in prepared_runs]
        if any(value != values[0] for value in values):
            raise ConfigError(f"the runs of one sweep have different values of {place}")
    cluster = config.build(prepared_runs[0].run.config["cluster"])
    if type(cluster) not in WAYS:
        valid = ", ".join(f"{way.__module__}.{way.__qualname__}" for way in WAYS)
        raise ConfigError(f"cluster: {cluster!r} is not one of {valid}")
    if isinstance(cluster, Local):
        _refuse_local(cluster)
    for prepared in prepared_runs:
        if isinstance(prepared.executor, FitJobs) and not isinstance(cluster, Slurm):
            raise ConfigError("executor=jobs needs cluster=slurm; elsewhere: inline, workers")
        if isinstance(cluster, Slurm):
            _refuse_slurm(cluster, prepared)
        else:
            _refuse_absent_gpu(prepared)
        _refuse_devices(prepared, config.build(prepared.run.config["resources"]), cluster)
    return cluster


def _refuse_local(cluster: Local) -> None:
    places = cluster.per_gpu * len(visible_gpus())
    if 0 < places < cluster.processes:
        raise ConfigError(
            f"cluster.processes={cluster.processes} is more than the {len(visible_gpus())} GPUs "
            f"take with cluster.per_gpu={cluster.per_gpu}; start at most {places}, or raise per_gpu"
        )


def _refuse_slurm(cluster: Slurm, prepared: PreparedRun) -> None:
    if shutil.which("sbatch") is None:
        raise ConfigError("cluster=slurm: there is no sbatch here; elsewhere: local, inline")
    try:
        cluster.refuse(config.build(prepared.run.config["resources"]))
    except ValueError as error:
        raise ConfigError(str(error)) from error


def _refuse_absent_gpu(prepared: PreparedRun) -> None:
    """Raise ConfigError if a run asks for a GPU by name on a machine that has none."""
    import torch

    asked = prepared.runtime.accelerator
    if asked in ("gpu", "cuda") and not torch.cuda.is_available():
        raise ConfigError(f"runtime.accelerator={asked}: there is no GPU here; auto takes what is")
    if asked == "mps" and not torch.backends.mps.is_available():
        raise ConfigError("runtime.accelerator=mps: there is no such device here; auto is cpu")


def _refuse_devices(prepared: PreparedRun, resources: Resources, cluster: Any) -> None:
    """Raise ConfigError for fits on several devices that could not be trained as asked for."""
    nodes, devices = resources.nodes, prepared.runtime.devices
    if nodes > 1 and not isinstance(cluster, Slurm):
        raise ConfigError(f"resources.nodes={nodes} needs cluster=slurm; elsewhere there is one")
    if nodes * devices == 1:
        return
    if getattr(prepared.executor, "func", None) is workers:
        raise ConfigError(
            f"executor=workers trains fits side by side, each on one device; with resources.nodes="
            f"{nodes} and runtime.devices={devices}: executor=inline, or jobs with cluster=slurm"
        )
    train = prepared.run.config["train"]
    batch, pieces = train["batch_size"], train.get("accumulate", 1)
    if batch % (nodes * devices * pieces):
        raise ConfigError(
            f"train.batch_size={batch} cannot be shared out evenly: resources.nodes={nodes} x "
            f"runtime.devices={devices} x train.accumulate={pieces}"
        )


def _chosen(run: Run, key: str) -> Any:
    return run.config["runtime"].get("store") if key == "store" else run.config[key]


def _frozen(prepared_runs: Sequence[PreparedRun]) -> list[dict[str, Any]]:
    differs = differing([prepared.run.overrides for prepared in prepared_runs])
    return [
        {
            "number": number,
            "name": prepared.name,
            "experiment": prepared.run.experiment,
            "differs": differs[number],
            **dataclasses.asdict(_absolute(prepared)),
        }
        for number, prepared in enumerate(prepared_runs)
    ]


def _absolute(prepared: PreparedRun) -> Run:
    """Return the run with absolute paths of store and data, wherever its job will start."""
    runtime = dict(prepared.run.config["runtime"])
    runtime["store"] = str(prepared.store.root.absolute())
    runtime["data"] = str(prepared.runtime.data_root.absolute())
    return dataclasses.replace(prepared.run, config={**prepared.run.config, "runtime": runtime})


def _label(runs: Sequence[Run]) -> str:
    return "+".join(dict.fromkeys(run.experiment for run in runs))


def _with_path(sweep: Sweep, number: int) -> dict[str, Any]:
    run, record = sweep.runs[number], sweep.record(number)
    if record is None:
        raise ConfigError(f"{sweep.name}: the record of run {number} was removed meanwhile")
    path = sweep.root / "named" / run["experiment"] / f"{run['name']}.json"
    return {**record, "path": str(path)}


def _finish(sweep: Sweep, records: Sequence[Mapping[str, Any]], *, num_runs: int) -> int:
    if records:
        conclude(Store(sweep.root), sweep.runs[0]["experiment"], records)
    publish_page(sweep)
    if interruption.asked():
        remark("asked to end; the same command goes on from here")
        return STOPPED
    missing = num_runs - len(records)
    if missing:
        remark(f"{missing} of {num_runs} runs failed; the same command goes on from there")
    return int(missing > 0)


def _arrays(jobs: Sequence[str]) -> str:
    return f"job{'s' * (len(jobs) > 1)} {', '.join(jobs)}"


def _look(sweep: Sweep) -> str:
    place = shlex.quote(str(sweep.root))
    return f"look: python -m sparsekit.status {shlex.quote(sweep.name)} --store {place}"
