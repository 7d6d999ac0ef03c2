"""The steps of an epoch, without what Lightning's own loop does around them for others.

For a small network that is more than half as much time as its training: dozens of calls to hooks
that nobody overrides, within profilers that measure nothing, and metrics of loggers that are not
there.
"""

from __future__ import annotations

from typing import Any

import torch
from lightning.pytorch import Trainer
from lightning.pytorch.loops.fetchers import _DataFetcher
from lightning.pytorch.loops.training_epoch_loop import _TrainingEpochLoop
from lightning.pytorch.utilities.exceptions import SIGTERMException
from torch import Tensor
from torch.optim import Optimizer

from sparsekit.training.fit_schedule import Batches
from sparsekit.training.lean_optimizers import step_of, zero_grad_of
from sparsekit.training.module import FitModule
from sparsekit.training.step_hooks import StepHooks, is_plain


def use_lean_loop_(trainer: Trainer) -> None:
    """Let `trainer` run its epochs by a `LeanEpochLoop`."""
    loop = trainer.fit_loop.epoch_loop
    trainer.fit_loop.epoch_loop = LeanEpochLoop(trainer, loop.min_steps, loop.max_steps)


class LeanEpochLoop(_TrainingEpochLoop):
    """Runs the epochs of a fit; those of an unusual one as Lightning's own loop does.

    `is_plain` decides before the first step of an epoch. The results are the same either way, and
    so is what callbacks see: their hooks in the same order with the same arguments, and the
    counts, metrics and flags of the trainer in between.
    """

    def run(self, data_fetcher: _DataFetcher) -> None:
        if self.restarting or not is_plain(self.trainer):
            super().run(data_fetcher)
            return
        self.reset()
        self.on_run_start(data_fetcher)
        step = LeanStep(self)
        batches, num_batches = self.trainer.train_dataloader, self.trainer.num_training_batches
        assert isinstance(batches, Batches), "is_plain has looked"
        try:
            # The fetcher's own iterator has drawn nothing yet.
            for batch in batches:
                data_fetcher.fetched += 1
                data_fetcher.done = data_fetcher.fetched >= num_batches
                step.take(batch, is_last=data_fetcher.done)
                if data_fetcher.done or (self.trainer.should_stop and self.done):
                    break
        finally:
            self.on_iteration_done()


class LeanStep:
    """Takes one training step after another, as `_TrainingEpochLoop.advance` would."""

    def __init__(self, loop: LeanEpochLoop) -> None:
        module = loop.trainer.lightning_module
        assert isinstance(module, FitModule), "is_plain has looked"
        self.loop = loop
        self.trainer = loop.trainer
        self.module = module
        self.optimizer: Optimizer = loop.trainer.optimizers[0]
        self.zero_grad_ = zero_grad_of(self.optimizer)
        self.step_ = step_of(self.optimizer)
        self.hooks = StepHooks(loop.trainer)
        self.results = loop._results
        self.connector = loop.trainer._logger_connector
        self.signals = loop.trainer._signal_connector
        self.counts = loop.automatic_optimization.optim_progress.optimizer
        self.batch: Any = None
        self.batch_idx = -1
        self.loss: Tensor | None = None

    def take(self, batch: Any, *, is_last: bool) -> None:
        """Train on one batch, and tell everybody."""
        hooks, connector, results = self.hooks, self.connector, self.results
        progress, steps = self.loop.batch_progress, self.counts.step
        self.batch_idx = batch_idx = progress.current.ready
        self.batch, self.loss = batch, None
        progress.is_last_batch = is_last
        progress.increment_ready()
        connector._first_loop_iter = connector._first_loop_iter is None
        results.batch, results.batch_size = batch, None
        hooks.on_train_batch_start(batch, batch_idx)
        progress.increment_started()
        steps.increment_ready()
        self.step_(self.closure)
        self.module.end_step()
        steps.increment_completed()
        progress.increment_processed()
        if self.loss is None:
            raise RuntimeError(
                f"{type(self.optimizer).__name__}.step did not call the closure that it was given"
            )
        hooks.on_train_batch_end({"loss": self.loss.detach()}, batch, batch_idx)
        if results:  # somebody has logged
            connector.on_batch_end()
        results.batch = results.batch_size = None
        progress.increment_completed()
        self.loop._batches_that_stepped += 1
        if self.signals.received_sigterm and not is_last:
            raise SIGTERMException

    def closure(self) -> Tensor:
        """Compute the loss and its gradients, and let them be changed before the step."""
        hooks, optimizer, counts = self.hooks, self.optimizer, self.counts.zero_grad
        with torch.enable_grad():
            self.loss = loss = self.module.training_step(self.batch, self.batch_idx)
            counts.increment_ready()
            hooks.on_before_zero_grad(optimizer)
            counts.increment_started()
            self.zero_grad_()
            counts.increment_completed()
            hooks.on_before_backward(loss)
            loss.backward()  # type: ignore[no-untyped-call]
            hooks.on_after_backward()
        hooks.on_before_optimizer_step(optimizer)
        if self.trainer.gradient_clip_val:
            self.module.configure_gradient_clipping(
                optimizer, self.trainer.gradient_clip_val, self.trainer.gradient_clip_algorithm
            )
        return loss
