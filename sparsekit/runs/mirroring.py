"""What a run tells its logger: each of its fits to any logger, the run as a whole to the mirror."""

from __future__ import annotations

import dataclasses
import functools
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sparsekit.mirror.logger import Wandb
from sparsekit.store.published import published

if TYPE_CHECKING:
    from sparsekit.runs.runner import PreparedRun


def logged(prepared: PreparedRun, logger: Any) -> PreparedRun:
    """Return the same run with a logger, which is told what the run is; None for none."""
    if logger is None:
        return prepared
    run = prepared.run
    *_, last = prepared.method.plan()
    about = {
        "experiment": run.experiment,
        "sweep": run.experiment,
        "method": run.choices["method"],
        "sparsity": f"{last.sparsity:.4g}",
        "seed": str(prepared.seed),
        "name": prepared.name,
    }
    settings = published(run.config)
    folder = str(Path(run.config["runtime"]["store"]).expanduser().absolute())
    observers = (functools.partial(logger, about=about, config=settings, folder=folder),)
    mirror = None
    if isinstance(logger, Wandb):
        mirror = logger.mirror(about, run.overrides, settings, folder)
    return dataclasses.replace(prepared, observers=observers, mirror=mirror)
