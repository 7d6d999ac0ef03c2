"""Optimizers with the field's defaults; any torch optimizer that takes named parameters works."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
from torch.nn import Parameter
from torch.optim import Optimizer

Named = Iterable[tuple[str, Parameter]]
SCALE = "lr_scale"
ELEMENTWISE = (
    torch.optim.ASGD,
    torch.optim.Adadelta,
    torch.optim.Adagrad,
    torch.optim.Adam,
    torch.optim.AdamW,
    torch.optim.Adamax,
    torch.optim.NAdam,
    torch.optim.RAdam,
    torch.optim.RMSprop,
    torch.optim.Rprop,
    torch.optim.SGD,
)
"""Optimizers in which the step of one weight depends on nothing of any other weight."""


def sgd(
    parameters: Named,
    *,
    momentum: float = 0.9,
    nesterov: bool = False,
    weight_decay: float = 0.0,
    decay_all: bool = True,
    fused: bool = True,
) -> Optimizer:
    """Build stochastic gradient descent; the schedule sets the learning rate at every step.

    `decay_all=False` spares one-dimensional parameters (biases, gains of normalisation layers)
    from weight decay.

    `fused=True` updates weights and momentum in one pass over memory, two to three times as fast
    as `foreach` on one CPU thread. Its momentum begins as zeros: m = momentum * 0 + gradient is the
    first gradient, bit for bit what PyTorch's own first step stores. PyTorch would instead allocate
    it in the first step, without filling it, for all weights at once: a layer whose first gradient
    comes later has none and crashes, and a first step that a gradient scaler skips leaves whatever
    was in memory. Fused kernels round differently from unfused ones (fused multiply-add), in the
    last bit.
    """
    groups = _groups(parameters, weight_decay, decay_all)
    optimizer = torch.optim.SGD(groups, lr=0.0, momentum=momentum, nesterov=nesterov, fused=fused)
    if fused and momentum:
        start_momentum_(optimizer)
    return optimizer


def start_momentum_(optimizer: Optimizer) -> None:
    """Give every parameter a momentum of zeros, in place; one that gets no gradient keeps it."""
    for group in optimizer.param_groups:
        for parameter in group["params"]:
            zeros = torch.zeros_like(parameter, requires_grad=False)
            optimizer.state[parameter]["momentum_buffer"] = zeros


def adamw(
    parameters: Named,
    *,
    betas: Sequence[float] = (0.9, 0.999),
    eps: float = 1e-8,
    weight_decay: float = 0.01,
    decay_all: bool = False,
    fused: bool = True,
) -> Optimizer:
    """Build Adam with decoupled weight decay (Loshchilov & Hutter 2019), by default of matrices."""
    groups = _groups(parameters, weight_decay, decay_all)
    first, second = betas
    return torch.optim.AdamW(groups, lr=0.0, betas=(first, second), eps=eps, fused=fused)


def mixes_elements(optimizer: Optimizer) -> bool:
    """Say whether the gradient of one weight may change the step of another.

    Factored or normalised statistics (Adafactor), orthogonalised steps (Muon), clipping by a norm
    inside the step: any optimizer that is not exactly one of `ELEMENTWISE`, subclasses included, is
    taken to mix.
    """
    return type(optimizer) not in ELEMENTWISE


def set_rate_(optimizer: Optimizer, rate: float) -> None:
    """Set the learning rate of every group to `rate` times the `lr_scale` of the group, in place.

    A group without `lr_scale` has 1; one with 0 keeps its weights (as long as its weight decay is
    multiplied by the rate, as that of SGD and AdamW is). The name is timm's.
    """
    for group in optimizer.param_groups:
        group["lr"] = rate * group.get(SCALE, 1.0)


def check_rates(optimizer: Optimizer, leaf: Callable[..., Any]) -> None:
    """Raise ValueError if `optimizer`, made by `leaf`, was given rates that would be ignored.

    The schedule alone says how large the learning rate is, and groups say by what factor theirs
    differs. One rate for all groups in the code of an optimizer, not among the arguments of its
    leaf, is a placeholder: most optimizers cannot be built without one.
    """
    rates = [float(group["lr"]) for group in optimizer.param_groups if "lr" in group]
    arguments = leaf.keywords if isinstance(leaf, functools.partial) else {}
    given = [name for name, value in arguments.items() if _is_rate(name, value, rates)]
    if given:
        raise ValueError(
            f"train.optimizer.{given[0]}={arguments[given[0]]} would be ignored: the schedule sets "
            "the learning rate at every step; set train.schedule.peak instead"
        )
    if len(set(rates)) > 1:
        raise ValueError(
            f"train.optimizer gives its groups the learning rates {sorted(set(rates))}, which the "
            "schedule would overwrite; give each group a factor instead: "
            "{'params': ..., 'lr_scale': 0.1}, 0 for a group that must not move"
        )
    scales = [group.get(SCALE, 1.0) for group in optimizer.param_groups]
    if not all(scale >= 0 for scale in scales):
        raise ValueError(f"train.optimizer gives its groups the {SCALE} {scales}; needed: >= 0")


def check_unscaling(optimizer: Optimizer, precision: str, *, reads_gradients: bool) -> None:
    """Raise ValueError where gradients are still scaled when somebody reads them."""
    is_fused = any(group.get("fused") for group in optimizer.param_groups)
    if reads_gradients and precision == "16-mixed" and is_fused:
        raise ValueError(
            "train.precision=16-mixed with train.clip_norm, with masks that move by gradients, "
            "with a view, or with a penalty, needs train.optimizer.fused=false: fused "
            "optimizers unscale gradients too late for them"
        )


def _is_rate(name: str, value: Any, rates: Sequence[float]) -> bool:
    if name in ("lr", "learning_rate"):
        return value is not None
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    return name.endswith(("lr", "learning_rate")) and is_number and value and value in rates


def _groups(parameters: Named, weight_decay: float, decay_all: bool) -> list[dict[str, Any]]:
    if weight_decay < 0:
        raise ValueError(f"weight_decay={weight_decay} is negative")
    named = list(parameters)
    decayed = [p for _, p in named if decay_all or p.ndim > 1]
    spared = [p for _, p in named if not (decay_all or p.ndim > 1)]
    groups = [(decayed, weight_decay), (spared, 0.0)]
    return [{"params": params, "weight_decay": decay} for params, decay in groups if params]
