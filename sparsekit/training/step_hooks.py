"""What is called within a training step, decided before it: only what somebody has overridden."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import lightning
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.plugins.precision import Precision
from lightning.pytorch.profilers import PassThroughProfiler
from lightning.pytorch.strategies import SingleDeviceStrategy
from lightning.pytorch.trainer import call

from sparsekit.training.fit_schedule import Batches
from sparsekit.training.masking import Masking
from sparsekit.training.module import FitModule
from sparsekit.training.observed import Observed

Told = Callable[..., None]
TESTED = ("2.5", "2.6")
"""Releases of Lightning whose loop is known to do what `LeanEpochLoop` does."""

NOT_CALLED = (
    "on_before_batch_transfer",
    "transfer_batch_to_device",
    "on_after_batch_transfer",
    "backward",
    "optimizer_zero_grad",
    "lr_scheduler_step",
)
"""Methods of a module that Lightning's loop calls and the lean one does not."""


class StepHooks:
    """The hooks of one step by name, each a call to all callbacks that have it, then the module."""

    def __init__(self, trainer: Trainer) -> None:
        self.on_train_batch_start = _hook(trainer, "on_train_batch_start")
        self.on_before_zero_grad = _hook(trainer, "on_before_zero_grad")
        self.on_before_backward = _hook(trainer, "on_before_backward")
        self.on_after_backward = _hook(trainer, "on_after_backward")
        self.on_before_optimizer_step = _hook(trainer, "on_before_optimizer_step")
        self.on_train_batch_end = _hook(trainer, "on_train_batch_end")


def is_plain(trainer: Trainer) -> bool:
    """Say whether nothing is asked of a step that only Lightning's own loop does."""
    module = trainer.lightning_module
    return (
        lightning.__version__.startswith(TESTED)
        and isinstance(module, FitModule)
        and isinstance(trainer.train_dataloader, Batches)
        and type(trainer.strategy) is SingleDeviceStrategy
        and trainer.strategy.root_device.type == "cpu"
        and trainer.strategy.model is module
        and type(trainer.precision_plugin) is Precision
        and type(trainer.profiler) is PassThroughProfiler  # type: ignore[attr-defined]
        and trainer.accumulate_grad_batches == 1
        and trainer.max_steps == -1
        and len(trainer.optimizers) == 1
        and not (trainer.lr_scheduler_configs or trainer.loggers or trainer.enable_validation)
        and not trainer.fit_loop._skip_backward
        and not any(_overrides(module, name, LightningModule) for name in NOT_CALLED)
    )


def _hook(trainer: Trainer, name: str) -> Told:
    """Return what calls the hook `name` where it is overridden, in Lightning's order."""
    module = trainer.lightning_module
    callbacks = trainer.callbacks  # type: ignore[attr-defined]
    overriding = [one for one in callbacks if _overrides(one, name, Callback)]
    in_module = _overrides(module, name, LightningModule)
    if not overriding and not in_module:
        return _nothing
    if any(type(one) not in (Masking, Observed) for one in overriding):
        return _as_lightning_does(trainer, name, in_module=in_module)
    calls = [getattr(one, name) for one in overriding]
    call_module = getattr(module, name) if in_module else _nothing
    attributes = vars(module)  # setting them the usual way asks first whether they are layers

    def tell(*args: Any) -> None:
        attributes["_current_fx_name"] = name  # where `module.log` looks
        for tell_one in calls:
            tell_one(trainer, module, *args)
        call_module(*args)
        attributes["_current_fx_name"] = None

    return tell


def _as_lightning_does(trainer: Trainer, name: str, *, in_module: bool) -> Told:
    def tell(*args: Any) -> None:
        call._call_callback_hooks(trainer, name, *args)
        if in_module:
            call._call_lightning_module_hook(trainer, name, *args)

    return tell


def _overrides(one: Callback | LightningModule, name: str, base: type) -> bool:
    """Say whether the hook `name` of `one` is not that of `base`, also if set on `one` alone."""
    return getattr(getattr(one, name), "__func__", None) is not getattr(base, name)


def _nothing(*args: Any) -> None:
    """Do what a hook does that nobody has overridden."""
