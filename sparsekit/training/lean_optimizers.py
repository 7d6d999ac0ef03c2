"""What PyTorch's optimizers do, without the labels that they write for its profiler.

A label costs as much as the update of a small layer, whether or not anything is profiled.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch.optim import Optimizer
from torch.optim.optimizer import _global_optimizer_post_hooks, _global_optimizer_pre_hooks

from sparsekit.training.optimizers import ELEMENTWISE

Closure = Callable[[], Any]


def zero_grad_of(optimizer: Optimizer) -> Callable[[], None]:
    """Return what does `optimizer.zero_grad()`: that itself, if it is not PyTorch's."""
    if getattr(optimizer.zero_grad, "__func__", None) is not Optimizer.zero_grad:
        return optimizer.zero_grad

    def zero_grad_() -> None:
        for group in optimizer.param_groups:
            for parameter in group["params"]:
                parameter.grad = None

    return zero_grad_


def step_of(optimizer: Optimizer) -> Callable[[Closure], object]:
    """Return what does `optimizer.step(closure=...)`, its hooks included.

    Unlabelled where it is a step of PyTorch's own and nobody profiles.
    """
    step: Any = type(optimizer).step
    if type(optimizer) not in ELEMENTWISE or "step" in vars(optimizer) or not step.hooked:
        return lambda closure: optimizer.step(closure=closure)
    unlabelled = step.__wrapped__

    def step_(closure: Closure) -> None:
        if (
            optimizer._optimizer_step_pre_hooks
            or _global_optimizer_pre_hooks
            or _global_optimizer_post_hooks
            or torch.autograd._profiler_enabled()
        ):
            optimizer.step(closure=closure)
            return
        unlabelled(optimizer, closure=closure)
        for hook in tuple(optimizer._optimizer_step_post_hooks.values()):
            hook(optimizer, (optimizer,), {"closure": closure})

    return step_
