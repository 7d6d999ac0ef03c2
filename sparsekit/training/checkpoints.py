"""Saving a fit on its way, and going on from there as if nothing had happened."""

from __future__ import annotations

import copy
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

import torch
from lightning.pytorch import Trainer

from sparsekit.system import interruption
from sparsekit.system.streams import outlive_readers
from sparsekit.training.checkpoint_files import LAST, restoring, write_checkpoint
from sparsekit.training.history import check_loss
from sparsekit.training.observing import Observer, RunningFit
from sparsekit.training.stopping import Group, agreed, first_signal, group_of_ranks, stop


class Stateful(Protocol):
    """What has a state beside the weights: it is saved, and restored in place."""

    def state_dict(self) -> dict[str, Any]: ...

    def load_state_dict(self, state_dict: dict[str, Any]) -> None: ...


class Checkpoints:
    """Saves to `folder/last.ckpt` every `every_seconds`, by rename, and restores at the start.

    Batches, augmentation, dropout and learning rate are functions of the step, so that the step,
    the weights, the optimizer, and what has a state of its own are all there is to save: `states`,
    by the name in the file, and `strangers`, the callbacks of the user's own.
    A fit that was asked to end saves at the next place where it may and stops there, on all ranks
    at the same step; after its last step it finishes instead.
    """

    def __init__(
        self,
        folder: Path,
        saved: Mapping[str, Any] | None,
        *,
        key: str,
        states: Mapping[str, Stateful],
        strangers: Mapping[str, Stateful],
        every_seconds: float,
    ) -> None:
        self.path = folder / LAST
        self.saved = saved
        self.key = key
        self.states = states
        self.strangers = strangers
        self.every_seconds = every_seconds
        self.due = time.monotonic() + every_seconds
        self.listens = interruption.listening()
        self.group: Group | None = None

    @property
    def observer(self) -> Observer:
        """What the fit calls."""
        return Observer(setup=self.restore, start=self.resume, pause=self.save_or_stop)

    def restore(self, fit: RunningFit) -> None:
        """Listen to signals in this process, and give everything the state that was saved."""
        if fit.trainer.world_size > 1:
            outlive_readers()  # ranks are new processes
        if self.listens:
            interruption.listen()
        if self.saved is None:
            return
        if fit.trainer.world_size > 1:
            # Tensors reach the ranks in memory that they share, and training changes some of them.
            self.saved = copy.deepcopy(self.saved)
        with restoring(self.path):
            for name, one in self.states.items():
                one.load_state_dict(self.saved[name])
            for name, one in self.strangers.items():
                one.load_state_dict(self.saved["strangers"][name])

    def resume(self, fit: RunningFit) -> None:
        """Give the optimizer, and what adds up losses, the state that was saved."""
        self.group = group_of_ranks(fit.trainer)
        if self.saved is not None:
            with restoring(self.path):
                fit.optimizer.load_state_dict(self.saved["optimizer"])
                fit.trainer.precision_plugin.load_state_dict(self.saved["precision"])
                fit.module.loss_sum.fill_(_own(self.saved["loss_sum"], fit.trainer))
                fit.module.steps_in_sum = self.saved["steps_in_sum"]
            self.saved = None

    def save_or_stop(self, fit: RunningFit) -> None:
        """Save if it is time to; save and leave if the fit was asked to end."""
        is_due = time.monotonic() >= self.due
        if self.group is None and not is_due and not interruption.asked():
            return
        asked, due = agreed([first_signal(), int(is_due)], self.group)
        if asked or due:
            check_loss(fit)
            self.save(fit)
            self.due = time.monotonic() + self.every_seconds
        if asked:
            stop(asked, self.group)

    def save(self, fit: RunningFit) -> None:
        """Write the state of the fit; a reader sees the previous file or this one, whole.

        All ranks must call it: each has a mean loss of its own. Rank 0 writes.
        """
        losses = fit.trainer.strategy.all_gather(fit.module.loss_sum)
        if not fit.is_rank_zero:
            return
        content = {
            "fit": self.key,
            "step": fit.step,
            "model": fit.module.model.state_dict(),
            "optimizer": fit.optimizer.state_dict(),
            "precision": fit.trainer.precision_plugin.state_dict(),
            "loss_sum": losses.flatten().cpu(),
            "steps_in_sum": fit.module.steps_in_sum,
            **{name: one.state_dict() for name, one in self.states.items()},
            "strangers": {name: one.state_dict() for name, one in self.strangers.items()},
        }
        write_checkpoint(self.path, content)


def _own(saved: Any, trainer: Trainer) -> float:
    """Return the sum of losses of this rank; the mean over ranks if their number has changed."""
    losses = torch.as_tensor(saved).flatten()
    if len(losses) == trainer.world_size:
        return float(losses[trainer.global_rank])
    return float(losses.mean())
