"""What a fit tells: one row per validated epoch, the same whether or not it was interrupted."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from sparsekit.core.layout import outputs_first
from sparsekit.core.prune import total_kept
from sparsekit.core.structure import structure
from sparsekit.training.evaluate import EVALUATION_BATCH, evaluate
from sparsekit.training.observing import Observer, RunningFit

if TYPE_CHECKING:
    from sparsekit.training.masking import Masking


class Diverged(RuntimeError):
    """The loss is not finite any more."""


class History:
    """Collects `rows`: step, epoch, learning rate, mean training loss, validation, kept weights,
    and where masks move also how far they have come and what structure they have.

    Raises Diverged as soon as it looks at a loss that is not finite: at the end of every epoch,
    before every checkpoint, and every `check_every` steps.
    """

    def __init__(self, *, check_every: int = 50) -> None:
        self.rows: list[dict[str, float]] = []
        self.check_every = check_every

    @property
    def observer(self) -> Observer:
        """What the fit calls."""
        return Observer(step=self.look, epoch=self.add_row)

    def state_dict(self) -> dict[str, Any]:
        return {"rows": self.rows}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.rows[:] = state_dict["rows"]  # observers hold the list

    def look(self, fit: RunningFit) -> None:
        """Check the loss now and then."""
        if fit.step % self.check_every == 0:
            check_loss(fit)

    def add_row(self, fit: RunningFit) -> None:
        """Validate, if it is time to, and add a row on rank 0."""
        check_loss(fit)
        module, schedule = fit.module, fit.module.fit_schedule
        num_epochs = math.ceil(fit.step / schedule.steps_per_epoch)
        if num_epochs % module.train_settings.evaluate_every and fit.step != schedule.last:
            return
        loss = module.take_mean_loss()
        if fit.is_rank_zero:
            self.rows.append(_row(fit, loss))


def check_loss(fit: RunningFit) -> None:
    """Raise Diverged unless the loss is finite so far."""
    if not math.isfinite(float(fit.module.loss_sum)):
        raise Diverged(
            f"the training loss is no longer finite by step {fit.step} (learning rate "
            f"{fit.module.fit_schedule.learning_rate(fit.step - 1):g}); lower "
            "train.schedule.peak, warm up longer, or set train.clip_norm"
        )


def _row(fit: RunningFit, loss: float) -> dict[str, float]:
    module, masking = fit.module, fit.masking
    batches = module.data.eval_batches("val", batch_size=EVALUATION_BATCH, device=module.device)
    with module.projected() as masks:
        measured = evaluate(module.task, [module.model], batches)
    num_kept = masking.mask_history.num_kept if masks is None else total_kept(masks)
    return {
        "step": fit.step,
        "epoch": fit.step / module.fit_schedule.steps_per_epoch,
        "learning_rate": module.fit_schedule.learning_rate(fit.step - 1),
        "train_loss": loss,
        **{f"val_{name}": value for name, value in measured.items()},
        "num_kept": num_kept,
        **(_moving(masking) if masking.mover is not None else {}),
    }


def _moving(masking: Masking) -> dict[str, float]:
    """Return ITOP rates so far; active neurons and the range of the fan-in of every layer."""
    rates = masking.mask_history.summary()
    row = {name: rate for name, rate in rates.items() if name != "average_num_kept"}
    rows = outputs_first(masking.masks, masking.transposed)
    for name, layer in structure(rows).items():
        row[f"active_neurons/{name}"] = layer["active_neurons"]
        row[f"fan_in/{name}/min"], row[f"fan_in/{name}/max"] = layer["fan_in"]
    return row
