"""Optimizers as leaves: momentum from the start, rates per group, and what mixes elements."""

from __future__ import annotations

import functools
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from sparsekit.training.optimizers import adamw, check_rates, mixes_elements, set_rate_, sgd


def gradients(step: int) -> list[Tensor]:
    generator = torch.Generator().manual_seed(step)
    return [torch.randn(33, 7, generator=generator) for _ in range(3)]


def trained(optimizer: torch.optim.Optimizer, parameters: list[nn.Parameter], late: int) -> None:
    """Four steps at 0.1; the last parameter has no gradient before step `late`."""
    set_rate_(optimizer, 0.1)
    for step in range(4):
        for parameter, gradient in zip(parameters, gradients(step), strict=True):
            parameter.grad = gradient
        if step < late:
            parameters[2].grad = None
        optimizer.step()


def started() -> list[nn.Parameter]:
    return [nn.Parameter(value) for value in gradients(100)]


@pytest.mark.parametrize("nesterov", [False, True])
@pytest.mark.parametrize("late", [0, 1, 3])
def test_fused_momentum_from_zeros_is_the_momentum_of_pytorch(nesterov: bool, late: int) -> None:
    """Bit for bit PyTorch's fused steps, where those exist; unfused ones up to the last bit."""
    ours, plain, fused = started(), started(), started()
    settings = {"momentum": 0.9, "nesterov": nesterov, "weight_decay": 1e-2}
    for parameters, is_fused in ((ours, True), (plain, False)):
        named = [(str(i), p) for i, p in enumerate(parameters)]
        trained(sgd(named, fused=is_fused, **settings), parameters, late)
    for one, other, before in zip(ours, plain, started(), strict=True):
        assert torch.allclose(one, other, rtol=1e-5, atol=1e-6)
        assert not torch.equal(one, before)
    if late == 0:
        trained(torch.optim.SGD(fused, lr=0.0, fused=True, **settings), fused, late)  # type: ignore[arg-type]
        assert all(torch.equal(one, other) for one, other in zip(ours, fused, strict=True))


def test_momentum_holds_nothing_of_a_first_step_that_overflows() -> None:
    for _ in range(50):
        parameter = nn.Parameter(torch.ones(64))
        optimizer = sgd([("p", parameter)])
        set_rate_(optimizer, 0.1)
        scaler = torch.amp.GradScaler("cpu")
        scaler.scale(torch.ones(()))
        parameter.grad = torch.full((64,), float("inf"))
        scaler.step(optimizer)
        scaler.update()
        assert torch.equal(parameter.data, torch.ones(64)), "a skipped step changes nothing"
        parameter.grad = torch.full((64,), scaler.get_scale())
        scaler.step(optimizer)
        assert torch.allclose(parameter.data, torch.full((64,), 0.9))


def test_groups_keep_their_scale_of_the_rate() -> None:
    still, slow, fast = started()
    groups: list[dict[str, Any]] = [
        {"params": [still], "lr_scale": 0.0},
        {"params": [slow], "lr_scale": 0.5},
        {"params": [fast]},
    ]
    optimizer = torch.optim.AdamW(groups, lr=0.1, weight_decay=0.1)
    before = [p.detach().clone() for p in (still, slow, fast)]
    for rate in (0.2, 0.4):
        set_rate_(optimizer, rate)
        assert [group["lr"] for group in optimizer.param_groups] == [0.0, 0.5 * rate, rate]
        for parameter, gradient in zip((still, slow, fast), gradients(0), strict=True):
            parameter.grad = gradient
        optimizer.step()
    moved = [not torch.equal(p, b) for p, b in zip((still, slow, fast), before, strict=True)]
    assert moved == [False, True, True]


@pytest.mark.parametrize(
    ("leaf", "rates", "message"),
    [
        ({"lr": 0.1}, (0.1, 0.1), r"train.optimizer.lr=0.1 would be ignored.*train.schedule.peak"),
        ({"lr": 0.0}, (0.0, 0.0), r"train.optimizer.lr=0.0"),
        ({"learning_rate": 0.1}, (0.2, 0.2), r"learning_rate=0.1"),
        ({"peak_lr": 0.1}, (0.1, 0.1), r"peak_lr=0.1"),
        ({}, (0.0, 0.1), r"train.optimizer gives.*\[0.0, 0.1\].*lr_scale"),
    ],
)
def test_rates_that_the_schedule_would_overwrite_are_refused(
    leaf: dict[str, Any], rates: tuple[float, float], message: str
) -> None:
    one, other, _ = started()
    groups = [{"params": [p], "lr": rate} for p, rate in zip((one, other), rates, strict=True)]
    with pytest.raises(ValueError, match=message):
        check_rates(torch.optim.SGD(groups, lr=0.3), functools.partial(sgd, **leaf))


@pytest.mark.parametrize("leaf", [{}, {"lr_decay": 0.01}, {"lr_scale": 0.5}, {"lr": None}])
def test_one_rate_in_the_code_of_an_optimizer_is_a_placeholder(leaf: dict[str, Any]) -> None:
    check_rates(torch.optim.Adagrad(started(), lr=0.01), functools.partial(sgd, **leaf))


def test_negative_scales_are_refused() -> None:
    with pytest.raises(ValueError, match=r"lr_scale \[-1.0\]"):
        check_rates(torch.optim.SGD([{"params": started(), "lr_scale": -1.0}], lr=0.1), sgd)


class ClipsInside(torch.optim.AdamW):
    """A subclass may do anything to the gradients."""


def test_only_optimizers_known_to_be_elementwise_are_taken_for_it() -> None:
    named = [(str(i), p) for i, p in enumerate(started())]
    assert not mixes_elements(sgd(named))
    assert not mixes_elements(adamw(named))
    for kind in (torch.optim.Adafactor, torch.optim.Muon, torch.optim.LBFGS, ClipsInside):
        assert mixes_elements(kind(started()))
