"""Unlabelled steps of PyTorch's optimizers: the same weights, hooks and gradients."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.optim import SGD, Adam, Optimizer

from sparsekit.training.lean_optimizers import step_of, zero_grad_of


class Halving(SGD):
    """An optimizer of the user's own."""

    def step(self, closure: Any = None) -> Any:
        loss = super().step(closure)
        for parameter in self.param_groups[0]["params"]:
            parameter.data /= 2
        return loss

    def zero_grad(self, set_to_none: bool = True) -> None:
        super().zero_grad(set_to_none=False)


Step = Callable[[Optimizer, Callable[[], Any]], Any]


def trained(make: Any, step: Step) -> tuple[Tensor, list[str], Optimizer]:
    """Weights after two steps, which hooks were called in order, and the optimizer."""
    layer, told = nn.Linear(3, 2, bias=False), []
    nn.init.ones_(layer.weight)
    optimizer = make(layer.parameters())
    optimizer.register_step_post_hook(lambda *_: told.append("after"))

    def closure() -> Tensor:
        zero_grad_of(optimizer)()
        told.append("closure")
        loss = layer(torch.ones(1, 3)).square().sum()
        loss.backward()
        return loss

    for _ in range(2):
        step(optimizer, closure)
    return layer.weight.detach(), told, optimizer


@pytest.mark.parametrize(
    "make", [lambda p: SGD(p, lr=0.1, momentum=0.9), Adam, lambda p: Halving(p, lr=0.1)]
)
def test_a_step_is_that_of_the_optimizer(make: Any) -> None:
    weights, told, _ = trained(make, lambda one, closure: one.step(closure))
    others, also_told, _ = trained(make, lambda one, closure: step_of(one)(closure))
    assert weights.equal(others)
    assert not weights.equal(torch.ones(2, 3))
    assert told == also_told
    assert told[:2] == ["closure", "after"]


def test_gradients_are_dropped_but_where_the_optimizer_keeps_them() -> None:
    _, _, plain = trained(lambda p: SGD(p, lr=0.1), lambda one, closure: step_of(one)(closure))
    _, _, own = trained(lambda p: Halving(p, lr=0.1), lambda one, closure: step_of(one)(closure))
    for optimizer in (plain, own):
        zero_grad_of(optimizer)()
    gradients = [one.param_groups[0]["params"][0].grad for one in (plain, own)]
    assert gradients[0] is None
    assert gradients[1] is not None
    assert not gradients[1].any()


def test_hooks_before_steps_and_profilers_find_what_they_look_for() -> None:
    _, _, optimizer = trained(lambda p: SGD(p, lr=0.1), lambda one, closure: one.step(closure))
    step, told = step_of(optimizer), []
    optimizer.register_step_pre_hook(lambda *_: told.append("before"))
    step(lambda: told.append("closure"))
    assert told == ["before", "closure"]
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profile:
        step_of(SGD([nn.Parameter(torch.ones(1))], lr=0.1))(lambda: None)
    assert "Optimizer.step#SGD.step" in {event.key for event in profile.key_averages()}
