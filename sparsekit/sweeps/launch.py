"""Starting the runs of a sweep: check, freeze, and hand them to where they are computed."""

from __future__ import annotations

import dataclasses
import os
import shlex
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from sparsekit.configuration import config
from sparsekit.configuration.compose import Run
from sparsekit.configuration.config import ConfigError
from sparsekit.runs.planning import unstored
from sparsekit.runs.recording import restate
from sparsekit.runs.runner import PreparedRun, prepare_run, rehearse_all
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
from sparsekit.sweeps.snapshot import provenance, take_snapshot
from sparsekit.sweeps.trust import CODE
from sparsekit.system import interruption
from sparsekit.system.printing import remark, say
from sparsekit.system.users import user_name

STOPPED = 143


def launch(runs: Sequence[Run], *, command: str, label: str | None = None) -> int:
    """Rehearse and freeze these runs, which `refuse` lets pass, and start them where they say.

    0: all finished, or all are queued; 1: some failed; 143: asked to end. Nothing is started
    unless all can be.
    """
    prepared_runs = [prepare_run(run) for run in runs]
    cluster = config.built(runs[0].config["cluster"])
    if not isinstance(cluster, Slurm):
        for prepared in prepared_runs:
            _refuse_absent_gpu(prepared)
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


def _refuse_absent_gpu(prepared: PreparedRun) -> None:
    """Raise ConfigError if a run asks for a GPU by name on a machine that has none."""
    import torch

    asked = prepared.runtime.accelerator
    if asked in ("gpu", "cuda") and not torch.cuda.is_available():
        raise ConfigError(f"runtime.accelerator={asked}: there is no GPU here; auto takes what is")
    if asked == "mps" and not torch.backends.mps.is_available():
        raise ConfigError("runtime.accelerator=mps: there is no such device here; auto is cpu")


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
