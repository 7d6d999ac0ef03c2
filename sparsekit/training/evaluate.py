"""Loss, accuracy and re-estimated normalisation statistics of one model on batches."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.nn.modules.batchnorm import _BatchNorm

Batches = Iterable[tuple[Tensor, Tensor]]


@torch.no_grad()
def evaluate(models: Sequence[nn.Module], batches: Batches) -> dict[str, float]:
    """Mean cross-entropy and accuracy (0 to 1) over every image, in evaluation mode.

    Of several models: of their prediction ensemble, which averages probabilities. Sums are exact
    over images, so the size of the batches does not matter to the accuracy. Images go in channels
    last, which is several times as fast for convolutions on a CPU.
    """
    loss, correct, count = 0.0, 0, 0
    with ExitStack() as modes:
        for model in models:
            modes.enter_context(_mode(model, training=False))
        for images, labels in batches:
            logits = _mean_prediction(models, images.to(memory_format=torch.channels_last))
            loss += float(cross_entropy(logits, labels, reduction="sum"))
            correct += int((logits.argmax(1) == labels).sum())
            count += len(labels)
    return {"loss": loss / count, "accuracy": correct / count}


def _mean_prediction(models: Sequence[nn.Module], images: Tensor) -> Tensor:
    """Logits of one model; of several the logarithm of their mean probabilities."""
    logits = [model(images).float() for model in models]
    if len(logits) == 1:
        return logits[0]
    log_probabilities = torch.stack([one.log_softmax(1) for one in logits])
    return log_probabilities.logsumexp(0) - math.log(len(logits))


@torch.no_grad()
def recalibrate_(model: nn.Module, batches: Batches) -> None:
    """Estimate the BatchNorm statistics of `model` anew, as plain averages over `batches`.

    Weights that no optimizer produced (averaged, interpolated, pruned) do not fit the statistics
    of those they were made from. Everything but BatchNorm stays in evaluation mode: dropout off.
    """
    norms = [m for m in model.modules() if isinstance(m, _BatchNorm) and m.track_running_stats]
    momenta = [norm.momentum for norm in norms]
    with _mode(model, training=False):
        for norm in norms:
            norm.reset_running_stats()
            norm.momentum = None
            norm.train()
        for images, _ in batches if norms else ():
            model(images.to(memory_format=torch.channels_last))
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum


@contextmanager
def _mode(model: nn.Module, *, training: bool) -> Iterator[None]:
    before = {module: module.training for module in model.modules()}
    model.train(training)
    try:
        yield
    finally:
        for module, was_training in before.items():
            module.training = was_training
