"""How far a fit is, in a small file that other programs can read."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer

from sparsekit.core.fit_spec import FitSpec
from sparsekit.system.files import write_measured
from sparsekit.training.history import History
from sparsekit.training.module import FitModule

EVERY_SECONDS = 5.0


def progress_file(key: str, spec: FitSpec, scratch: Path, *, file: str) -> Callback:
    """Return a callback that keeps `file` up to date: cycle, particle, step, validation."""
    about = {"key": key, "cycle": spec.cycle, "particle": spec.particle}
    return ProgressFile(Path(file), about)


class ProgressFile(Callback):
    """Writes at the start, every few seconds, and wherever the fit ends; on rank 0."""

    def __init__(self, file: Path, about: Mapping[str, Any]) -> None:
        self.file = file
        self.about = about
        self.due = 0.0

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._write(trainer, pl_module)

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *_: Any) -> None:
        if time.monotonic() >= self.due:
            self._write(trainer, pl_module)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._write(trainer, pl_module)

    def on_exception(
        self, trainer: Trainer, pl_module: LightningModule, exception: BaseException
    ) -> None:
        self._write(trainer, pl_module)

    def _write(self, trainer: Trainer, module: LightningModule) -> None:
        assert isinstance(module, FitModule)
        if not trainer.is_global_zero:
            return
        callbacks = trainer.callbacks  # type: ignore[attr-defined]
        rows = next(one for one in callbacks if isinstance(one, History)).rows
        primary = module.task.primary
        self.due = time.monotonic() + EVERY_SECONDS
        self.file.parent.mkdir(parents=True, exist_ok=True)
        write_measured(
            self.file,
            {
                **self.about,
                "step": module.step,
                "last_step": module.fit_schedule.last,
                "primary": dataclasses.asdict(primary),
                "validation": rows[-1][f"val_{primary.name}"] if rows else None,
                "time": time.time(),
            },
        )
