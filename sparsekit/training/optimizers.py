"""Optimizers with the field's defaults; any torch optimizer that takes named parameters works."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch.nn import Parameter

Named = Iterable[tuple[str, Parameter]]


def sgd(
    parameters: Named,
    *,
    momentum: float = 0.9,
    nesterov: bool = False,
    weight_decay: float = 0.0,
    decay_all: bool = True,
    fused: bool = True,
) -> torch.optim.Optimizer:
    """Stochastic gradient descent; the learning rate is set at every step by the schedule.

    `decay_all=False` spares one-dimensional parameters (biases, gains of normalisation layers)
    from weight decay. Fused kernels make masking after the step nearly free.
    """
    groups = _groups(parameters, weight_decay, decay_all)
    return torch.optim.SGD(groups, lr=0.0, momentum=momentum, nesterov=nesterov, fused=fused)


def adamw(
    parameters: Named,
    *,
    betas: Sequence[float] = (0.9, 0.999),
    eps: float = 1e-8,
    weight_decay: float = 0.01,
    decay_all: bool = False,
    fused: bool = True,
) -> torch.optim.Optimizer:
    """Adam with decoupled weight decay (Loshchilov & Hutter 2019), by default of matrices only."""
    groups = _groups(parameters, weight_decay, decay_all)
    first, second = betas
    return torch.optim.AdamW(groups, lr=0.0, betas=(first, second), eps=eps, fused=fused)


def _groups(parameters: Named, weight_decay: float, decay_all: bool) -> list[dict[str, Any]]:
    if weight_decay < 0:
        raise ValueError(f"weight_decay={weight_decay} is negative")
    named = list(parameters)
    decayed = [p for _, p in named if decay_all or p.ndim > 1]
    spared = [p for _, p in named if not (decay_all or p.ndim > 1)]
    groups = [(decayed, weight_decay), (spared, 0.0)]
    return [{"params": params, "weight_decay": decay} for params, decay in groups if params]
