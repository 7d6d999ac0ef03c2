"""What keeps runs from being started here, as far as it is seen without importing PyTorch."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from sparsekit.configuration import config
from sparsekit.configuration.compose import Run
from sparsekit.configuration.config import ConfigError
from sparsekit.configuration.identity import deciding
from sparsekit.configuration.unpublishable import refuse_secrets
from sparsekit.sweeps.clusters import Inline, Local, Slurm
from sparsekit.system.executors import workers
from sparsekit.system.fit_jobs import FitJobs
from sparsekit.system.gpus import visible_gpus
from sparsekit.system.refusals import refusal_in, require_one_file_system, require_writable

CLUSTERS = (Inline, Local, Slurm)
FOLDERS = ("work", "stages/*", "named/*", "sweeps")
"""Of a store, in which runs write."""


def refuse(runs: Sequence[Run]) -> None:
    """Raise ConfigError for what would be ignored, or cannot work, where these runs are to go."""
    for run in runs:
        refuse_secrets(run.config, deciding(run.config))
    _refuse_mixed(runs)
    cluster = config.built(runs[0].config["cluster"])
    if not isinstance(cluster, CLUSTERS):
        valid = ", ".join(f"{way.__module__}.{way.__qualname__}" for way in CLUSTERS)
        raise ConfigError(f"cluster: {cluster!r} is not one of {valid}")
    if isinstance(cluster, Local):
        _refuse_local(cluster)
    for run in runs:
        executor = _executor(run)
        if isinstance(executor, FitJobs) and not isinstance(cluster, Slurm):
            raise ConfigError("executor=jobs needs cluster=slurm; elsewhere: inline, workers")
        if isinstance(cluster, Slurm):
            _refuse_slurm(cluster, run)
        _refuse_devices(run, executor, cluster)
    _require_store(runs[0])


def _refuse_mixed(runs: Sequence[Run]) -> None:
    for key, place in (("cluster", "cluster"), ("store", "runtime.store")):
        values = [_chosen(run, key) for run in runs]
        if any(value != values[0] for value in values):
            raise ConfigError(f"the runs of one sweep have different values of {place}")


def _chosen(run: Run, key: str) -> Any:
    return run.config["runtime"].get("store") if key == "store" else run.config[key]


def _executor(run: Run) -> Any:
    try:
        executor = config.built(run.config["executor"])
        executor(str, [])  # refuses its settings even when there is nothing to do
    except Exception as error:
        raise ConfigError(f"{run.shown}: {error.__cause__ or error}") from error
    return executor


def _refuse_local(cluster: Local) -> None:
    places = cluster.per_gpu * len(visible_gpus())
    if 0 < places < cluster.processes:
        raise ConfigError(
            f"cluster.processes={cluster.processes} is more than the {len(visible_gpus())} GPUs "
            f"take with cluster.per_gpu={cluster.per_gpu}; start at most {places}, or raise per_gpu"
        )


def _refuse_slurm(cluster: Slurm, run: Run) -> None:
    if shutil.which("sbatch") is None:
        raise ConfigError("cluster=slurm: there is no sbatch here; elsewhere: local, inline")
    try:
        cluster.refuse(config.built(run.config["resources"]))
    except ValueError as error:
        raise ConfigError(str(error)) from error


def _refuse_devices(run: Run, executor: Any, cluster: Any) -> None:
    """Raise ConfigError for fits on several devices that could not be trained as asked for."""
    nodes = config.built(run.config["resources"]).nodes
    devices = config.built(run.config["runtime"]).devices
    if nodes > 1 and not isinstance(cluster, Slurm):
        raise ConfigError(f"resources.nodes={nodes} needs cluster=slurm; elsewhere there is one")
    if nodes * devices == 1:
        return
    if getattr(executor, "func", None) is workers:
        raise ConfigError(
            f"executor=workers trains fits side by side, each on one device; with resources.nodes="
            f"{nodes} and runtime.devices={devices}: executor=inline, or jobs with cluster=slurm"
        )
    train = run.config["train"]
    batch, pieces = train["batch_size"], train.get("accumulate", 1)
    if batch % (nodes * devices * pieces):
        raise ConfigError(
            f"train.batch_size={batch} cannot be shared out evenly: resources.nodes={nodes} x "
            f"runtime.devices={devices} x train.accumulate={pieces}"
        )


def _require_store(run: Run) -> None:
    """Raise ConfigError unless a run can write to its store, which all of its sweep share."""
    root = Path(config.built(run.config["runtime"]).placed().store)
    try:
        require_writable(root, FOLDERS)
        require_one_file_system(root, ("work", "stages", "stages/*"))
    except OSError as error:
        said = f"runtime.store={root} cannot be written to"
        raise ConfigError(f"{said}: {refusal_in(error) or error}") from error
