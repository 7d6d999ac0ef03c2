"""Callbacks of the user's own in a fit: they see its metrics, and are saved with it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from sparsekit.tasks.types import Task
from sparsekit.training.observing import Observer, RunningFit

if TYPE_CHECKING:
    from lightning.pytorch import Callback

Makers = Mapping[str, Callable[[], Any]]


def made(makers: Makers | None) -> dict[str, Callback]:
    """Make new callbacks by name; ValueError for others, and for one that writes checkpoints."""
    if not makers:
        return {}
    from lightning.pytorch import Callback
    from lightning.pytorch.callbacks import Checkpoint

    callbacks = {name: make() for name, make in makers.items()}
    for name, callback in callbacks.items():
        if not isinstance(callback, Callback):
            kind = type(callback).__name__
            raise ValueError(f"callbacks.{name} is a {kind}, not a Lightning callback")
        if isinstance(callback, Checkpoint):
            raise ValueError(f"callbacks.{name} saves checkpoints, which fits do by themselves")
    return callbacks


def check_callbacks(makers: Makers | None, task: Task, *, evaluate_every: int) -> None:
    """Raise ValueError for callbacks that cannot work, such as one that waits for no metric."""
    if not makers:
        return
    from lightning.pytorch.callbacks import EarlyStopping

    for name, callback in made(makers).items():
        if not isinstance(callback, EarlyStopping):
            continue
        if callback.monitor not in ("train_loss", "val_loss", f"val_{task.primary.name}"):
            raise ValueError(
                f"callbacks.{name}.monitor={callback.monitor!r}: a fit tells train_loss, val_loss "
                f"and val_{task.primary.name}"
            )
        if evaluate_every != 1:
            raise ValueError(
                f"callbacks.{name} looks at the end of every epoch; it needs train.evaluate_every=1"
            )


class Shown:
    """Shows the callbacks of the user's own what a fit tells, on all ranks, after each epoch."""

    def __init__(self) -> None:
        self.num_shown = 0

    @property
    def observer(self) -> Observer:
        """What the fit calls."""
        return Observer(epoch=self.show)

    def show(self, fit: RunningFit) -> None:
        """Log the rows that are new, where other callbacks of the trainer look."""
        rows = fit.trainer.strategy.broadcast(fit.rows[self.num_shown :])
        self.num_shown += len(rows)
        for row in rows:
            numbers = {name: float(v) for name, v in row.items() if isinstance(v, int | float)}
            fit.module.log_dict(numbers, rank_zero_only=False)
