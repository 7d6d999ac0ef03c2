"""One class per example: logits [B, C] and labels [B]."""

from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from sparsekit.tasks.logits import (
    check_floating,
    check_num_outputs,
    described,
    mean_probabilities,
    soften,
)
from sparsekit.tasks.types import ACCURACY, Measured, Task


def classification(*, label_smoothing: float = 0.0) -> Task:
    """Train by cross-entropy, report accuracy (a share of 1) and the loss without smoothing.

    Outputs are logits [B, C], targets int64 [B] in 0 .. C - 1. An ensemble averages probabilities.
    Label smoothing (Szegedy et al. 2016) mixes the target with the uniform distribution, while
    training only.

    Raises ValueError unless 0 <= label_smoothing < 1.
    """
    if not 0 <= label_smoothing < 1:
        raise ValueError(f"label_smoothing={label_smoothing}: must be at least 0 and below 1")
    return Task(
        loss=partial(_loss, label_smoothing=label_smoothing),
        measure=_measure,
        primary=ACCURACY,
        mean_prediction=mean_probabilities,
        soften=soften,
        classes=_classes,
        check=_check,
    )


def _loss(logits: Any, labels: Any, *, label_smoothing: float) -> Tensor:
    _check_shapes(logits, labels)
    return cross_entropy(logits, labels, label_smoothing=label_smoothing)


def _measure(logits: Any, labels: Any) -> Measured:
    _check_shapes(logits, labels)
    logits = logits.float()
    loss = float(cross_entropy(logits, labels, reduction="sum"))
    correct = int((logits.argmax(1) == labels).sum())
    return {"loss": (loss, len(labels)), "accuracy": (correct, len(labels))}


def _classes(labels: Any) -> Tensor:
    label: Tensor = labels
    return label


def _check(logits: Any, labels: Any, num_outputs: int) -> None:
    """Raise ValueError unless there is one logit per class and every label is one of them."""
    _check_shapes(logits, labels)
    check_num_outputs(logits.shape[1], num_outputs, of="classes")
    low, high = int(labels.min()), int(labels.max())
    if low < 0 or high >= num_outputs:
        raise ValueError(f"labels from {low} to {high}: must lie in 0 .. {num_outputs - 1}")


def _check_shapes(logits: Any, labels: Any) -> None:
    """Raise ValueError for anything but logits [B, C] and labels int64 [B]; reads no value."""
    if not isinstance(labels, Tensor) or labels.dtype != torch.int64 or labels.ndim != 1:
        raise ValueError(f"labels must be int64 [B], one per example, not {described(labels)}")
    check_floating(logits, "logits of a classification", "[B, C]", 2)
    if len(logits) != len(labels):
        raise ValueError(f"{len(logits)} rows of logits do not fit {len(labels)} labels")
