"""Masking again what other callbacks have put in place of the weights."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer


class LastWord(Callback):
    """Calls `apply_` and `mask_state_` of a masking where averages take the place of weights.

    An average along training holds weights that were pruned on the way. Callbacks that keep one
    (`EMAWeightAveraging`, `StochasticWeightAveraging`) install it before validation, before an
    epoch that estimates BatchNorm, at the end of the fit and in checkpoints. The masking puts this
    callback at the end of the trainer's list, so that it runs after them.
    """

    def __init__(
        self, apply_: Callable[[], None], mask_state_: Callable[[dict[str, Any]], None]
    ) -> None:
        self.apply_ = apply_
        self.mask_state_ = mask_state_

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.apply_()

    def on_validation_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.apply_()

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.apply_()

    def on_save_checkpoint(
        self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        self.mask_state_(checkpoint["state_dict"])
