"""One class per example: logits [B, C] and labels [B]."""

import math
from collections.abc import Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

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
        mean_prediction=_mean_prediction,
        soften=_soften,
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


def _mean_prediction(outputs: Sequence[Any]) -> Tensor:
    """Logits of one network; of several the logarithm of their mean probabilities."""
    logits = [one.float() for one in outputs]
    if len(logits) == 1:
        return logits[0]
    log_probabilities = torch.stack([one.log_softmax(1) for one in logits])
    return log_probabilities.logsumexp(0) - math.log(len(logits))


def _soften(logits: Any, temperature: float) -> Tensor:
    softened: Tensor = logits / temperature
    return softened


def _classes(labels: Any) -> Tensor:
    label: Tensor = labels
    return label


def _check(logits: Any, labels: Any, num_outputs: int) -> None:
    """Raise ValueError unless there is one logit per class and every label is one of them."""
    _check_shapes(logits, labels)
    if logits.shape[1] != num_outputs:
        raise ValueError(
            f"the network has {logits.shape[1]} outputs per example, the data has {num_outputs} "
            "classes: they must be the same"
        )
    low, high = int(labels.min()), int(labels.max())
    if low < 0 or high >= num_outputs:
        raise ValueError(f"labels from {low} to {high}: must lie in 0 .. {num_outputs - 1}")


def _check_shapes(logits: Any, labels: Any) -> None:
    """Raise ValueError for anything but logits [B, C] and labels int64 [B]; reads no value."""
    if not isinstance(logits, Tensor):
        raise ValueError(
            f"classification needs one tensor of logits, the network returned "
            f"{type(logits).__name__}; wrap it so that it returns the logits alone"
        )
    if not isinstance(labels, Tensor) or labels.dtype != torch.int64 or labels.ndim != 1:
        found = f"{labels.dtype} {list(labels.shape)}" if isinstance(labels, Tensor) else labels
        raise ValueError(f"classification needs labels int64 [B], one per example, not {found}")
    if logits.ndim != 2 or len(logits) != len(labels) or not logits.is_floating_point():
        raise ValueError(
            f"classification needs floating-point logits [{len(labels)}, classes], not "
            f"{logits.dtype} {list(logits.shape)}"
        )
