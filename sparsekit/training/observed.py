"""The callback of Lightning that tells observers how far a fit is."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer

from sparsekit.training.observing import Observer, RunningFit, Told


class Observed(Callback):
    """Tells `observers`, each time in their order, about the fit that is `running` in a trainer."""

    def __init__(
        self, running: Callable[[Trainer], RunningFit], observers: Sequence[Observer]
    ) -> None:
        self.running = running
        self.observers = observers
        self.has_trained = False
        self._steps = [one.step for one in observers if one.step is not None]
        self._pauses = [one.pause for one in observers if one.pause is not None]
        self._fit: RunningFit | None = None

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        self._tell(trainer, [one.setup for one in self.observers])

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._tell(trainer, [one.start for one in self.observers])

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *_: Any) -> None:
        if self._fit is None:
            self._fit = self.running(trainer)
        fit = self._fit
        module = fit.module
        if not module.between_steps:
            return
        for step in self._steps:
            step(fit)
        # The last step of an epoch is followed by its validation, which belongs to it.
        if self._pauses and module.step < module.fit_schedule.epoch_end(module.step - 1):
            for pause in self._pauses:
                pause(fit)

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        # Only now has every callback seen the end of the epoch before, early stopping the last.
        if self.has_trained:
            self._tell(trainer, [one.pause for one in self.observers])
        self.has_trained = True

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._tell(trainer, [one.epoch for one in self.observers])

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._tell(trainer, [one.end for one in self.observers])

    def on_exception(
        self, trainer: Trainer, pl_module: LightningModule, exception: BaseException
    ) -> None:
        fit = self.running(trainer)
        for observer in self.observers:
            if observer.failure is not None:
                observer.failure(fit, exception)

    def _tell(self, trainer: Trainer, calls: Sequence[Told | None]) -> None:
        fit = self.running(trainer)
        for call in calls:
            if call is not None:
                call(fit)
