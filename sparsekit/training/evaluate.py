"""The metrics of a task, and re-estimated normalisation statistics, of networks on batches."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from sparsekit.data.batches import Inputs, call, map_tensors
from sparsekit.data.types import Data
from sparsekit.tasks.types import Task, add
from sparsekit.training.norm_statistics import pooling_, tracked_norms

EVALUATION_BATCH = 1000

Batches = Iterable[tuple[Any, Any]]


@torch.no_grad()
def evaluate(task: Task, models: Sequence[nn.Module], batches: Batches) -> dict[str, float]:
    """Return the task's metrics over every example, of models in evaluation mode.

    Of several models: of their ensemble; ValueError where the task defines none. Sums are exact
    over examples, so the size of the batches does not matter to metrics that count.
    """
    with ExitStack() as modes:
        for model in models:
            modes.enter_context(_mode(model, training=False))
        measured = (
            task.measure(_prediction(task, models, in_layout(inputs)), targets)
            for inputs, targets in batches
        )
        return task.metrics(add(measured))


@torch.no_grad()
def outputs_of(model: nn.Module, batches: Batches) -> Iterator[tuple[Any, Any]]:
    """Yield the outputs of a model in evaluation mode, and the targets, of each batch."""
    with _mode(model, training=False):
        for inputs, targets in batches:
            yield call(model, in_layout(inputs)), targets


def in_layout(inputs: Inputs) -> Inputs:
    """Return `inputs` with images channels last: several times as fast for convolutions on CPUs."""
    return map_tensors(inputs, _channels_last)


def _channels_last(tensor: Tensor) -> Tensor:
    return tensor.to(memory_format=torch.channels_last) if tensor.ndim == 4 else tensor


def _prediction(task: Task, models: Sequence[nn.Module], inputs: Inputs) -> Any:
    outputs = [call(model, inputs) for model in models]
    if len(outputs) == 1:
        return outputs[0]
    if task.mean_prediction is None:
        raise ValueError("the task defines no mean prediction: several networks cannot be measured")
    return task.mean_prediction(outputs)


@torch.no_grad()
def recalibrate_(model: nn.Module, batches: Batches) -> None:
    """Estimate the statistics of BatchNorm and InstanceNorm anew, over all examples of `batches`.

    Weights that no optimizer produced (averaged, interpolated, pruned) do not fit the statistics
    of those they were made from. Examples count, not batches (`pooling_`), the model is in
    evaluation mode: dropout off. In place.
    """
    norms = tracked_norms(model)
    with _mode(model, training=False), pooling_(norms):
        for inputs, _ in batches if norms else ():
            call(model, in_layout(inputs))


def augmented_epoch(data: Data, device: torch.device) -> Batches:
    """Return training batches for new statistics: of one epoch, augmented as in training.

    Networks that an optimizer made keep the statistics of such batches, so averages are judged on
    equal terms with them. Always the same epoch, in equal batches of at most `EVALUATION_BATCH`;
    fewer examples than there are batches are left over.
    """
    num_batches = -(-data.num_train // EVALUATION_BATCH)
    size = data.num_train // num_batches
    return data.train_batches(batch_size=size, seed=0, epoch=0, device=device)


@contextmanager
def _mode(model: nn.Module, *, training: bool) -> Iterator[None]:
    before = {module: module.training for module in model.modules()}
    model.train(training)
    try:
        yield
    finally:
        for module, was_training in before.items():
            module.training = was_training
