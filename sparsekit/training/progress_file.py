"""How far a fit is, in a small file that other programs can read."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sparsekit.core.fit_spec import FitSpec
from sparsekit.system.files import write_measured
from sparsekit.training.observing import Observer, RunningFit

EVERY_SECONDS = 5.0


def progress_file(key: str, spec: FitSpec, scratch: Path, *, file: str) -> Observer:
    """Return an observer that keeps `file` up to date: cycle, particle, step, validation."""
    about = {"key": key, "cycle": spec.cycle, "particle": spec.particle}
    return ProgressFile(Path(file), about).observer


class ProgressFile:
    """Writes at the start, every few seconds, and wherever the fit ends; on rank 0."""

    def __init__(self, file: Path, about: Mapping[str, Any]) -> None:
        self.file = file
        self.about = about
        self.due = 0.0

    @property
    def observer(self) -> Observer:
        """What the fit calls."""
        return Observer(
            start=self.write, step=self.write_if_due, end=self.write, failure=self.write
        )

    def write_if_due(self, fit: RunningFit) -> None:
        """Write if the file is some seconds old."""
        if time.monotonic() >= self.due:
            self.write(fit)

    def write(self, fit: RunningFit, error: BaseException | None = None) -> None:
        """Replace the file by one that says how far `fit` is."""
        if not fit.is_rank_zero:
            return
        self.due = time.monotonic() + EVERY_SECONDS
        self.file.parent.mkdir(parents=True, exist_ok=True)
        write_measured(
            self.file,
            {
                **self.about,
                "step": fit.step,
                "last_step": fit.last_step,
                "primary": dataclasses.asdict(fit.module.task.primary),
                "validation": fit.validation,
                "time": time.time(),
            },
        )
