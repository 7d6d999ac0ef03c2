"""Numbers per example: outputs [B, D] and targets [B, D]."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import mse_loss

from sparsekit.tasks.logits import check_floating, check_num_outputs
from sparsekit.tasks.types import Measured, Metric, Task

NO_SPREAD = 1e-12
"""Variance below this share of the mean square is rounding: the targets are constant."""


def regression() -> Task:
    """Train by the mean squared error, report it as `loss`, and the coefficient of determination.

    Outputs and targets are floating-point [B, D]. R2 = 1 - sum (y - f)^2 / sum (y - mean y)^2 over
    the examples of the split, for each of the D targets, then their mean (as scikit-learn's
    `r2_score`); 1 is perfect, 0 is the mean of the split, and there is no lower bound. NaN where
    the targets of a split are all the same. Sums are exact to float64. An ensemble averages
    outputs.
    """
    return Task(
        loss=_loss,
        measure=_measure,
        primary=Metric("r2", "max"),
        summarise=_summarise,
        mean_prediction=_mean_prediction,
        check=_check,
    )


def _loss(outputs: Any, targets: Any) -> Tensor:
    _check_shapes(outputs, targets)
    return mse_loss(outputs, targets)


def _measure(outputs: Any, targets: Any) -> Measured:
    """Sum squared errors, targets and squared targets, per target."""
    _check_shapes(outputs, targets)
    y = targets.cpu().double()
    errors = (outputs.cpu().double() - y).square().sum(0).tolist()
    sums, squares = y.sum(0).tolist(), y.square().sum(0).tolist()
    count = len(y)
    measured: Measured = {"loss": (sum(errors) / len(errors), count)}
    for index, values in enumerate(zip(errors, sums, squares, strict=True)):
        names = (f"error_{index}", f"target_{index}", f"square_{index}")
        measured |= {name: (value, count) for name, value in zip(names, values, strict=True)}
    return measured


def _summarise(means: dict[str, float]) -> dict[str, float]:
    num_targets = (len(means) - 1) // 3
    scores = [
        _r2(means[f"error_{index}"], means[f"target_{index}"], means[f"square_{index}"])
        for index in range(num_targets)
    ]
    return {"loss": means["loss"], "r2": sum(scores) / num_targets}


def _r2(error: float, mean: float, square: float) -> float:
    variance = square - mean**2
    return 1 - error / variance if variance > NO_SPREAD * square else float("nan")


def _mean_prediction(outputs: Sequence[Any]) -> Tensor:
    return torch.stack([one.float() for one in outputs]).mean(0)


def _check(outputs: Any, targets: Any, num_outputs: int) -> None:
    """Raise ValueError unless there is one finite target for each output."""
    _check_shapes(outputs, targets)
    check_num_outputs(outputs.shape[1], num_outputs, of="targets per example")
    if not bool(targets.isfinite().all()):
        raise ValueError("targets of a regression must be finite, found NaN or infinity")


def _check_shapes(outputs: Any, targets: Any) -> None:
    """Raise ValueError unless both are [B, D]: [B] against [B, 1] would silently be broadcast."""
    check_floating(outputs, "outputs of a regression", "[B, D]", 2)
    check_floating(targets, "targets of a regression", "[B, D]", 2)
    if outputs.shape != targets.shape:
        raise ValueError(f"outputs {list(outputs.shape)} do not fit targets {list(targets.shape)}")
