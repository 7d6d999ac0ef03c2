"""What a fit tells: one row per validated epoch, the same whether or not it was interrupted."""

from __future__ import annotations

import math
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer

from sparsekit.core.layout import outputs_first
from sparsekit.core.prune import total_kept
from sparsekit.core.structure import structure
from sparsekit.training.evaluate import evaluate
from sparsekit.training.masking import Masking
from sparsekit.training.module import FitModule

EVALUATION_BATCH = 1000


class Diverged(RuntimeError):
    """The loss is not finite any more."""


class History(Callback):
    """Collects `rows`: step, epoch, learning rate, mean training loss, validation, kept weights,
    and where masks move also how far they have come and what structure they have.

    Raises Diverged as soon as it looks at a loss that is not finite: at the end of every epoch,
    before every checkpoint, and every `check_every` steps.
    """

    def __init__(self, masking: Masking, *, check_every: int = 50) -> None:
        self.rows: list[dict[str, float]] = []
        self.masking = masking
        self.check_every = check_every

    def state_dict(self) -> dict[str, Any]:
        return {"rows": self.rows}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.rows = list(state_dict["rows"])

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *_: Any) -> None:
        assert isinstance(pl_module, FitModule)
        if pl_module.between_steps and pl_module.step % self.check_every == 0:
            self.check(pl_module)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        assert isinstance(pl_module, FitModule)
        self.check(pl_module)
        fit_schedule, every = pl_module.fit_schedule, pl_module.train_settings.evaluate_every
        num_epochs = math.ceil(pl_module.step / fit_schedule.steps_per_epoch)
        if num_epochs % every and pl_module.step != fit_schedule.last:
            return
        loss = pl_module.take_mean_loss()
        if trainer.is_global_zero:
            self.rows.append(self._row(pl_module, loss))

    def check(self, module: FitModule) -> None:
        """Raise Diverged unless the loss is finite so far."""
        if not math.isfinite(float(module.loss_sum)):
            raise Diverged(
                f"the training loss is no longer finite by step {module.step} (learning rate "
                f"{module.fit_schedule.learning_rate(module.step - 1):g}); lower "
                "train.schedule.peak, warm up longer, or set train.clip_norm"
            )

    def _row(self, module: FitModule, loss: float) -> dict[str, float]:
        batches = module.data.eval_batches("val", batch_size=EVALUATION_BATCH, device=module.device)
        with module.projected() as masks:
            measured = evaluate(module.task, [module.model], batches)
        num_kept = self.masking.mask_history.num_kept if masks is None else total_kept(masks)
        return {
            "step": module.step,
            "epoch": module.step / module.fit_schedule.steps_per_epoch,
            "learning_rate": module.fit_schedule.learning_rate(module.step - 1),
            "train_loss": loss,
            **{f"val_{name}": value for name, value in measured.items()},
            "num_kept": num_kept,
            **(self._moving() if self.masking.mover is not None else {}),
        }

    def _moving(self) -> dict[str, float]:
        """Return ITOP rates so far; active neurons and the range of the fan-in of every layer."""
        rates = self.masking.mask_history.summary()
        row = {name: rate for name, rate in rates.items() if name != "average_num_kept"}
        rows = outputs_first(self.masking.masks, self.masking.transposed)
        for name, layer in structure(rows).items():
            row[f"active_neurons/{name}"] = layer["active_neurons"]
            row[f"fan_in/{name}/min"], row[f"fan_in/{name}/max"] = layer["fan_in"]
        return row
