"""The Lightning module: a network that learns its task; every step is a function of its number."""

from __future__ import annotations

import contextlib
import random
from collections.abc import Iterator
from functools import partial
from typing import Any

import numpy
import torch
from lightning.pytorch import LightningModule
from torch import Tensor, nn

from sparsekit.core.types import Masks
from sparsekit.data.batches import Inputs, call
from sparsekit.data.types import Data
from sparsekit.tasks.types import Task
from sparsekit.training.evaluate import in_layout
from sparsekit.training.fit_schedule import Batches, FitSchedule
from sparsekit.training.optimizers import check_unscaling, set_rate_
from sparsekit.training.penalising import Penalised
from sparsekit.training.settings import Train
from sparsekit.training.teacher import Teacher
from sparsekit.training.viewing import ViewedNetwork
from sparsekit.training.whole_batch import WholeBatch, check_pieces, has_batch_norm

PLANNED = 64
"""Steps for which seed and learning rate are worked out together."""


class FitModule(LightningModule):
    """Trains `model` along `fit_schedule`, from `step`, which counts finished optimizer steps.

    `loss_sum` adds up the losses of `steps_in_sum` steps, until `take_mean_loss` starts afresh.
    `between_steps` is False while the pieces of one batch are being accumulated.
    `reads_gradients`: something reads the gradients between backward pass and optimizer step.
    `viewed`: the network as forward passes see it, where that is not as it is. `penalised`: what
    else pulls at its weights, if anything. `teacher`: a network it learns from beside its task.
    """

    def __init__(
        self,
        model: nn.Module,
        data: Data,
        task: Task,
        fit_schedule: FitSchedule,
        train: Train,
        *,
        step: int,
        compiled: bool = False,
        reads_gradients: bool = False,
        viewed: ViewedNetwork | None = None,
        penalised: Penalised | None = None,
    ) -> None:
        super().__init__()
        self.model = model
        self.data = data
        self.task = task
        self.fit_schedule = fit_schedule
        self.train_settings = train
        self.step = step
        self.reads_gradients = reads_gradients
        self.viewed = viewed
        self.penalised = penalised
        self.teacher: Teacher | None = None
        self.steps_in_sum = 0
        self.between_steps = True
        self.shares_batches = False
        self._planned: tuple[int, list[int]] = (step, [])
        # Not a buffer, because DDP overwrites the buffers of all ranks by those of rank 0.
        self.loss_sum = torch.zeros(())
        # In a list, so that the compiled copy is not a submodule and state-dict keys do not change.
        self._forward = [viewed or (torch.compile(model) if compiled else model)]

    def train_dataloader(self) -> Batches:
        return Batches(
            self.data,
            self.fit_schedule,
            self.train_settings,
            step=self.step,
            rank=self.global_rank,
            world_size=self.trainer.world_size,
            device=self.device,
        )

    def on_fit_start(self) -> None:
        # Made anew, because tensors reach the processes of ranks in memory that they share.
        self.loss_sum = torch.zeros((), device=self.device)
        num_devices = self.trainer.world_size
        check_pieces(self.model, accumulate=self.train_settings.accumulate, num_devices=num_devices)
        if self.teacher is not None:
            self.teacher.model.to(self.device)
        self.shares_batches = num_devices > 1 and has_batch_norm(self.model)

    def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:
        if not self.between_steps:
            return
        vars(self)["between_steps"] = False
        if self.viewed is not None:
            self.viewed.step = self.step
        seed_(self.device, self._step_seed())
        set_rate_(self.trainer.optimizers[0], self.fit_schedule.learning_rate(self.step))

    def _step_seed(self) -> int:
        """Return the seed of this step; worked out for many at once, with warm caches a fourth of
        the time. Not so the learning rate, which code of the user's own may give."""
        first, planned = self._planned
        if not 0 <= self.step - first < len(planned):
            steps = range(self.step, min(self.step + PLANNED, self.fit_schedule.last))
            planned = [self.fit_schedule.step_seed(step) for step in steps]
            first, self._planned = self.step, (self.step, planned)
        return planned[self.step - first]

    def training_step(self, batch: tuple[Any, Any], batch_idx: int) -> Tensor:
        inputs, targets = batch
        if self.train_settings.channels_last:
            inputs = in_layout(inputs)
        if self.shares_batches:
            with WholeBatch():
                loss = self._loss(inputs, targets)
        else:
            loss = self._loss(inputs, targets)
        pieces = self.train_settings.accumulate
        self.loss_sum.add_(loss.detach() if pieces == 1 else loss.detach() / pieces)
        return loss

    def _loss(self, inputs: Inputs, targets: Any) -> Tensor:
        if self.teacher is None:
            return self.task.loss(call(self._forward[0], inputs), targets)
        forward = partial(call, self._forward[0])
        return self.teacher.loss(self.model, forward, inputs, targets)

    def on_before_optimizer_step(self, optimizer: torch.optim.Optimizer) -> None:
        if self.viewed is not None:
            self.viewed.pull_(optimizer)
        if self.penalised is not None:
            self.penalised.add_(self.step, self.fit_schedule.learning_rate(self.step))

    def optimizer_step(self, *args: Any, **kwargs: Any) -> None:
        super().optimizer_step(*args, **kwargs)
        self.end_step()

    def end_step(self) -> None:
        """Do what belongs to a step after the optimizer's part, and count it."""
        if self.penalised is not None:
            self.penalised.shrink_(self.step, self.fit_schedule.learning_rate(self.step))
        attributes = vars(self)  # setting them the usual way asks first whether they are layers
        attributes["step"] += 1
        attributes["steps_in_sum"] += 1
        attributes["between_steps"] = True

    @contextlib.contextmanager
    def projected(self) -> Iterator[Masks | None]:
        """Let the network have the weights that a fit that ends here publishes, and give their
        masks; without a view these are the weights it has, under the masks it has: None."""
        if self.viewed is None:
            yield None
        else:
            with self.viewed.projected() as masks:
                yield masks

    def take_mean_loss(self) -> float:
        """Return the mean loss per step since the last call, over all ranks."""
        loss: Tensor = self.trainer.strategy.reduce(self.loss_sum.clone(), reduce_op="mean")
        mean = float(loss) / max(1, self.steps_in_sum)
        self.loss_sum.zero_()
        self.steps_in_sum = 0
        return mean

    def cost_of_teacher(self) -> dict[str, float]:
        """Return what the teacher cost this fit on all devices, however often it was stopped."""
        if self.teacher is None:
            return {}
        train, schedule = self.train_settings, self.fit_schedule
        passes = train.accumulate * self.trainer.world_size
        return self.teacher.cost(
            schedule.last - schedule.first, batch_size=train.batch_size, passes_per_step=passes
        )

    def configure_optimizers(self) -> torch.optim.Optimizer:
        trained = [(name, p) for name, p in self.model.named_parameters() if p.requires_grad]
        optimizer: torch.optim.Optimizer = self.train_settings.optimizer(trained)
        precision = self.train_settings.precision
        check_unscaling(optimizer, precision, reads_gradients=self.reads_gradients)
        return optimizer


def seed_(device: torch.device, seed: int) -> None:
    """Seed what a step on `device` may draw from: PyTorch's, NumPy's and Python's generators."""
    random.seed(seed)
    numpy.random.seed(seed % 2**32)
    if device.type == "cpu":
        # torch.manual_seed would also note the seed, with a stack trace, for GPUs that are not
        # in use: 0.3 ms inside a trainer.
        torch.default_generator.manual_seed(seed)
    else:
        torch.manual_seed(seed)
