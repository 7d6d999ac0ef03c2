"""How a fit shows that it is alive: a bar on a terminal, else a line now and then."""

from __future__ import annotations

import sys
import time
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer
from tqdm import tqdm

from sparsekit.training.history import History
from sparsekit.training.module import FitModule
from sparsekit.training.settings import Runtime


class Progress(Callback):
    """Shows steps, the last validation and the time left."""

    def __init__(self, history: History, runtime: Runtime) -> None:
        self.history = history
        self.style = _style(runtime.progress)
        self.every_seconds = runtime.progress_seconds
        self.bar: tqdm[Any] | None = None
        self.next_line = time.monotonic() + self.every_seconds

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        assert isinstance(pl_module, FitModule)
        if self.style == "bar" and trainer.is_global_zero:
            self.bar = tqdm(
                total=pl_module.fit_schedule.last,
                initial=pl_module.step,
                unit="step",
                leave=False,
                mininterval=0.2,
            )

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *_: Any) -> None:
        assert isinstance(pl_module, FitModule)
        if not trainer.is_global_zero or not pl_module.between_steps:
            return
        if self.bar is not None:
            self.bar.update(pl_module.step - self.bar.n)
        elif self.style == "lines" and time.monotonic() >= self.next_line:
            print(self._line(pl_module), file=sys.stderr, flush=True)
            self.next_line = time.monotonic() + self.every_seconds

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if self.bar is not None:
            self.bar.close()

    def on_exception(
        self, trainer: Trainer, pl_module: LightningModule, exception: BaseException
    ) -> None:
        if self.bar is not None:
            self.bar.close()

    def _line(self, module: FitModule) -> str:
        rows = self.history.rows
        primary = module.task.primary
        latest = f", validation {primary.text(rows[-1][f'val_{primary.name}'])}" if rows else ""
        return f"    step {module.step} of {module.fit_schedule.last}{latest}"


def _style(asked: str) -> str:
    if asked == "auto":
        return "bar" if sys.stderr.isatty() else "lines"
    return asked
