"""A sequence of tokens, each predicted from those before it: logits [B, T, V], targets [B, T]."""

import math
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
from sparsekit.tasks.types import Measured, Metric, Task

IGNORED = -100
"""A target that is not counted, such as padding; PyTorch's own default."""


def next_token(*, bytes_per_token: float | None = None) -> Task:
    """Train by cross-entropy over all positions, report it per token and as perplexity.

    Outputs are logits [B, T, V]. Targets are int64 [B, T], the token after each position, or -100
    where none is to be predicted. `loss` is in nats per token, `perplexity` = exp(loss), `accuracy`
    the share of tokens whose logit is the largest. With `bytes_per_token`, 1 where tokens are
    bytes, `bits_per_byte` = loss / ln 2 / bytes_per_token is the primary metric, else perplexity.
    All are means over tokens, not over sequences. An ensemble averages probabilities.

    Raises ValueError unless bytes_per_token is above 0.
    """
    if bytes_per_token is not None and bytes_per_token <= 0:
        raise ValueError(f"bytes_per_token={bytes_per_token}: must be above 0")
    return Task(
        loss=_loss,
        measure=_measure,
        primary=Metric("perplexity" if bytes_per_token is None else "bits_per_byte", "min"),
        summarise=partial(_summarise, bytes_per_token=bytes_per_token),
        mean_prediction=mean_probabilities,
        soften=soften,
        counted=_counted,
        check=_check,
    )


def _loss(logits: Any, targets: Any) -> Tensor:
    _check_shapes(logits, targets)
    return cross_entropy(logits.flatten(0, 1), targets.flatten(), ignore_index=IGNORED)


def _counted(targets: Any) -> Tensor:
    counted: Tensor = targets != IGNORED
    return counted


def _measure(logits: Any, targets: Any) -> Measured:
    _check_shapes(logits, targets)
    logits, targets = logits.flatten(0, 1).float(), targets.flatten()
    each = cross_entropy(logits, targets, ignore_index=IGNORED, reduction="none")
    # Summed in float64, so that the size of batches hardly matters; not every device has that.
    total = float(each.cpu().double().sum())
    count = int((targets != IGNORED).sum())
    correct = int((logits.argmax(1) == targets).sum())
    return {"loss": (total, count), "accuracy": (correct, count)}


def _summarise(means: dict[str, float], *, bytes_per_token: float | None) -> dict[str, float]:
    loss = means["loss"]
    shown = {**means, "perplexity": math.exp(loss) if loss < 700 else math.inf}
    if bytes_per_token is not None:
        shown["bits_per_byte"] = loss / math.log(2) / bytes_per_token
    return shown


def _check(logits: Any, targets: Any, num_outputs: int) -> None:
    """Raise ValueError unless there is one logit per token and every target is a token."""
    _check_shapes(logits, targets)
    check_num_outputs(logits.shape[2], num_outputs, of="tokens")
    counted = targets[targets != IGNORED]
    if not len(counted):
        raise ValueError(f"every target is {IGNORED}: there is no token to predict")
    low, high = int(counted.min()), int(counted.max())
    if low < 0 or high >= num_outputs:
        raise ValueError(
            f"tokens from {low} to {high}: must lie in 0 .. {num_outputs - 1}, or be {IGNORED}"
        )


def _check_shapes(logits: Any, targets: Any) -> None:
    """Raise ValueError for anything but logits [B, T, V] and targets int64 [B, T]."""
    if not isinstance(targets, Tensor) or targets.dtype != torch.int64 or targets.ndim != 2:
        raise ValueError(
            f"tokens to predict must be int64 [B, T], one per position, not {described(targets)}"
        )
    check_floating(logits, "logits of next tokens", "[B, T, V]", 3)
    if logits.shape[:2] != targets.shape:
        raise ValueError(
            f"logits {list(logits.shape)} do not fit tokens to predict {list(targets.shape)}"
        )
