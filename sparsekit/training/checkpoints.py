"""Saving a fit on its way, and going on from there as if nothing had happened."""

from __future__ import annotations

import copy
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer

from sparsekit.system import interruption
from sparsekit.system.files import replacing
from sparsekit.system.streams import outlive_readers
from sparsekit.training.averaging import TrajectoryAverage
from sparsekit.training.history import History
from sparsekit.training.masking import Masking
from sparsekit.training.module import FitModule
from sparsekit.training.stopping import Group, agreed, first_signal, group_of_ranks, stop

LAST = "last.ckpt"


class Checkpoints(Callback):
    """Saves to `folder/last.ckpt` every `every_seconds`, by rename, and restores at the start.

    Batches, augmentation, dropout and learning rate are functions of the step, so that the step,
    the weights, the optimizer, the masks, the average and the history are all there is to save.
    A fit that was asked to end saves at the next place where it may and stops there, on all ranks
    at the same step; after its last step it finishes instead.
    """

    def __init__(
        self,
        folder: Path,
        saved: Mapping[str, Any] | None,
        *,
        masking: Masking,
        history: History,
        average: TrajectoryAverage,
        strangers: Mapping[str, Callback],
        every_seconds: float,
    ) -> None:
        self.path = folder / LAST
        self.saved = saved
        self.masking = masking
        self.history = history
        self.average = average
        self.strangers = strangers
        self.every_seconds = every_seconds
        self.due = time.monotonic() + every_seconds
        self.listens = interruption.listening()
        self.group: Group | None = None
        self.has_trained = False

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        if trainer.world_size > 1:
            outlive_readers()  # ranks are new processes
        if self.listens:
            interruption.listen()
        if self.saved is None:
            return
        if trainer.world_size > 1:
            # Tensors reach the ranks in memory that they share, and training changes some of them.
            self.saved = copy.deepcopy(self.saved)
        self.masking.load_state_dict(self.saved["masking"])
        self.history.load_state_dict(self.saved["history"])
        self.average.load_state_dict(self.saved["average"])
        for name, callback in self.strangers.items():
            callback.load_state_dict(self.saved["strangers"][name])

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        assert isinstance(pl_module, FitModule)
        self.group = group_of_ranks(trainer)
        if self.saved is not None:
            trainer.optimizers[0].load_state_dict(self.saved["optimizer"])
            trainer.precision_plugin.load_state_dict(self.saved["precision"])
            pl_module.loss_sum.fill_(_own(self.saved["loss_sum"], trainer))
            pl_module.steps_in_sum = self.saved["steps_in_sum"]
            self.saved = None

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *_: Any) -> None:
        assert isinstance(pl_module, FitModule)
        # The last step of an epoch is followed by its validation, which belongs to it.
        fit_schedule = pl_module.fit_schedule
        if pl_module.between_steps and pl_module.step < fit_schedule.epoch_end(pl_module.step - 1):
            self._save_or_stop(trainer, pl_module)

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        assert isinstance(pl_module, FitModule)
        # Only now has every callback seen the end of the epoch before, early stopping the last.
        if self.has_trained:
            self._save_or_stop(trainer, pl_module)
        self.has_trained = True

    def _save_or_stop(self, trainer: Trainer, module: FitModule) -> None:
        is_due = time.monotonic() >= self.due
        asked, due = agreed([first_signal(), int(is_due)], self.group)
        if asked or due:
            self.history.check(module)
            self.save(trainer, module)
            self.due = time.monotonic() + self.every_seconds
        if asked:
            stop(asked, self.group)

    def save(self, trainer: Trainer, module: FitModule) -> None:
        """Write the state of the fit; a reader sees the previous file or this one, whole.

        All ranks must call it: each has a mean loss of its own. Rank 0 writes.
        """
        losses = trainer.strategy.all_gather(module.loss_sum)
        if not trainer.is_global_zero:
            return
        content = {
            "step": module.step,
            "model": module.model.state_dict(),
            "optimizer": trainer.optimizers[0].state_dict(),
            "precision": trainer.precision_plugin.state_dict(),
            "loss_sum": losses.flatten().cpu(),
            "steps_in_sum": module.steps_in_sum,
            "masking": self.masking.state_dict(),
            "history": self.history.state_dict(),
            "average": self.average.state_dict(),
            "strangers": {name: one.state_dict() for name, one in self.strangers.items()},
        }
        write_checkpoint(self.path, content)


def _own(saved: Any, trainer: Trainer) -> float:
    """Return the sum of losses of this rank; the mean over ranks if their number has changed."""
    losses = torch.as_tensor(saved).flatten()
    if len(losses) == trainer.world_size:
        return float(losses[trainer.global_rank])
    return float(losses.mean())


def write_checkpoint(path: Path, content: Mapping[str, Any]) -> None:
    """Replace `path` by `content` in one step.

    An interrupt in the middle of torch.save leaves it as a RuntimeError of the unfinished archive;
    it leaves here as the KeyboardInterrupt it was, so that it ends the program and not one run. So
    does the OSError of a disk that is full.
    """
    with replacing(path, path.with_suffix(".partial")) as temporary, temporary.open("wb") as file:
        try:
            torch.save(content, file)
        except RuntimeError as error:
            if isinstance(error.__context__, KeyboardInterrupt | OSError):
                raise error.__context__ from error
            raise


def read_checkpoint(folder: Path) -> dict[str, Any] | None:
    """Read `folder/last.ckpt`; None if nothing was saved. No code in it is run."""
    path = folder / LAST
    if not path.exists():
        return None
    content: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    return content
