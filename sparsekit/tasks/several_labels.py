"""Any number of labels per example: logits [B, L] and targets [B, L] of 0 and 1."""

from collections.abc import Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits, logsigmoid

from sparsekit.tasks.logits import check_floating, check_num_outputs
from sparsekit.tasks.types import Measured, Metric, Task


def several_labels(*, k: Sequence[int] = (1, 3, 5)) -> Task:
    """Train by binary cross-entropy of every label, report precision among the k best scores.

    Outputs are logits [B, L], targets [B, L] floating-point, 1 for the labels an example has and 0
    for the others. `loss` is the mean over examples and labels. `precision_at_k` (P@k) of an
    example is the number of its labels among the k of highest logit, divided by k whether it has k
    labels or not; the metric is the mean over examples. Of equal logits the lower label comes
    first. The first k is the primary metric. An ensemble averages probabilities, label by label.

    Raises ValueError for no k, a k below 1 or one named twice.
    """
    if not k or min(k) < 1 or len(set(k)) < len(k):
        raise ValueError(f"k={list(k)}: must name different numbers from 1 on")
    return Task(
        loss=_loss,
        measure=partial(_measure, k=tuple(k)),
        primary=Metric(f"precision_at_{k[0]}", "max", "percent"),
        mean_prediction=_mean_prediction,
        soften=_soften,
        check=partial(_check, k=tuple(k)),
    )


def _loss(logits: Any, targets: Any) -> Tensor:
    _check_shapes(logits, targets)
    return binary_cross_entropy_with_logits(logits, targets)


def _measure(logits: Any, targets: Any, *, k: tuple[int, ...]) -> Measured:
    _check_shapes(logits, targets)
    _check_best(logits, k)
    logits = logits.float()
    each = binary_cross_entropy_with_logits(logits, targets.float(), reduction="none")
    # A stable sort, so that ties are decided by the number of the label on every device.
    order = logits.sort(dim=1, descending=True, stable=True).indices
    hits = targets.gather(1, order[:, : max(k)]).cpu().double().cumsum(1).sum(0).tolist()
    count = len(targets)
    precision = {f"precision_at_{one}": (hits[one - 1] / one, count) for one in k}
    return {"loss": (float(each.cpu().double().mean(1).sum()), count), **precision}


def _soften(logits: Any, temperature: float) -> Tensor:
    """Return [B, L, 2]: each label against its absence, whose logit is 0; no label excludes others.

    softmax(x, 0) = (sigmoid(x), 1 - sigmoid(x)).
    """
    softened: Tensor = logits / temperature
    return torch.stack((softened, torch.zeros_like(softened)), dim=-1)


def _mean_prediction(outputs: Sequence[Any]) -> Tensor:
    """Return the logits of one network; of several the logits of their mean probabilities."""
    logits = [one.float() for one in outputs]
    if len(logits) == 1:
        return logits[0]
    stacked = torch.stack(logits)
    return logsigmoid(stacked).logsumexp(0) - logsigmoid(-stacked).logsumexp(0)


def _check(logits: Any, targets: Any, num_outputs: int, *, k: tuple[int, ...]) -> None:
    """Raise ValueError unless there is one logit per label and targets are 0 or 1."""
    _check_shapes(logits, targets)
    _check_best(logits, k)
    check_num_outputs(logits.shape[1], num_outputs, of="labels")
    if not bool(((targets == 0) | (targets == 1)).all()):
        raise ValueError("targets of several labels must be 0 or 1, found others")


def _check_best(logits: Tensor, k: tuple[int, ...]) -> None:
    if max(k) > logits.shape[1]:
        raise ValueError(f"k={list(k)}: there are only {logits.shape[1]} labels")


def _check_shapes(logits: Any, targets: Any) -> None:
    """Raise ValueError unless both are floating-point [B, L]; reads no value."""
    check_floating(logits, "logits of several labels", "[B, L]", 2)
    check_floating(targets, "targets of several labels", "[B, L]", 2)
    if logits.shape != targets.shape:
        raise ValueError(f"logits {list(logits.shape)} do not fit targets {list(targets.shape)}")
