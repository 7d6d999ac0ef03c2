"""One small batch through everything a run will do with its network, before it does any of it."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from sparsekit.core.types import Masks
from sparsekit.data.batches import call, tensors_of
from sparsekit.data.types import Data
from sparsekit.networks.network import Network
from sparsekit.tasks.types import Task
from sparsekit.training.evaluate import evaluate, in_layout, recalibrate_
from sparsekit.training.judge import sizes
from sparsekit.training.teacher import Teacher

BATCH_SIZE = 8
CPU = torch.device("cpu")
FAILURES = (RuntimeError, TypeError, IndexError, KeyError, AttributeError, NotImplementedError)


def try_network(network: Network, masks: Masks, data: Data, task: Task) -> None:
    """Run one loss, one backward pass, one evaluation, one re-estimation and one report.

    `masks` prune the network as a cycle will. ValueError for whatever fails, in words that name the
    network's builder and what was tried.
    """
    builder = network.model["_target_"]
    model = network.build()
    with torch.random.fork_rng(devices=[]):  # all of it happens on the CPU
        inputs, targets = next(_training(data))
        with _explained(f"{builder} fails on a training batch of {data.name} {_shapes(inputs)}"):
            outputs = call(model.train(), inputs)
        _check_outputs(outputs, targets, data, task, builder)
        with _explained(f"the loss of {builder} on {data.name} cannot be computed"):
            loss = task.loss(outputs, targets)
        _backward(loss, model, builder)
        batch = next(data.eval_batches("val", batch_size=BATCH_SIZE, device=CPU))
        with _explained(f"{builder} fails in evaluation mode on {data.name} {_shapes(batch[0])}"):
            evaluate(task, [model], [batch])
            recalibrate_(model, [batch])
        with _explained(f"the report of {builder} cannot be made"):
            sizes(network, model, masks)


def try_teacher(
    teacher_of: Callable[..., Teacher], network: Network, data: Data, task: Task
) -> None:
    """Run one loss and one backward pass of `network`, untrained, with what a teacher says.

    ValueError where they do not fit together, as `try_network` does.
    """
    builder = network.model["_target_"]
    model = network.build()
    teacher = teacher_of(task=task, student=model, of=network)
    with torch.random.fork_rng(devices=[]):  # all of it happens on the CPU
        inputs, targets = next(_training(data))
        with _explained(f"distillation of {builder} on {data.name} {_shapes(inputs)} fails"):
            loss = teacher.loss(model.train(), partial(call, model), inputs, targets)
        _backward(loss, model, builder)


def check_two_builds(network: Network, other_seed: int, *, redrawn: bool) -> None:
    """Raise ValueError unless a second build under the same seed is the same network.

    Each load of a stored network builds it anew: whatever it draws from elsewhere, and does not
    keep in its state dict, would be another network than the one that was trained. `redrawn`: the
    method draws weights anew under `other_seed`, which must then change them.
    """
    builder = network.model["_target_"]
    first, again = network.build(), network.build()
    for name, value in first.state_dict().items():
        if not _same(value, again.state_dict()[name]):
            raise ValueError(
                f"{builder} draws {name} from a generator of its own: two builds under one seed "
                "differ. Draw from torch's, NumPy's or Python's global generator"
            )
    with torch.no_grad(), contextlib.suppress(*FAILURES):
        outputs = [call(model.eval(), in_layout(network.example())) for model in (first, again)]
        if not all(_same(*pair) for pair in zip(*map(tensors_of, outputs), strict=True)):
            raise ValueError(
                f"{builder} keeps something outside its state dict that two builds under one seed "
                "do not agree on, or it is random in evaluation mode; register it as a buffer"
            )
    if redrawn:
        drawn = Network(network.model, network.inputs, network.num_outputs, other_seed).build()
        if all(_same(v, drawn.state_dict()[name]) for name, v in first.state_dict().items()):
            raise ValueError(
                f"method.reinitialise draws the weights of {builder} anew, but it has the same "
                "whatever the seed (it seeds itself, or loads them): the control changes nothing"
            )


def _training(data: Data) -> Iterator[tuple[Any, Any]]:
    size = min(BATCH_SIZE, data.num_train)
    return data.train_batches(batch_size=size, seed=0, epoch=0, device=CPU)


def _check_outputs(outputs: Any, targets: Any, data: Data, task: Task, builder: str) -> None:
    if task.check is None:
        return
    with _explained(f"the output of {builder} does not fit the task"):
        try:
            task.check(outputs, targets, data.num_outputs)
        except ValueError as error:
            raise ValueError(
                f"the output of {builder} does not fit the task on {data.name}: {error}"
            ) from error


def _backward(loss: Tensor, model: nn.Module, builder: str) -> None:
    if not isinstance(loss, Tensor) or loss.ndim != 0 or not loss.requires_grad:
        shown = list(loss.shape) if isinstance(loss, Tensor) else type(loss).__name__
        raise ValueError(f"the task's loss must be a differentiable scalar, got {shown}")
    if not bool(loss.isfinite()):
        raise ValueError(f"the first loss of {builder} is {loss.item()}, not a finite number")
    with _explained(f"the loss of {builder} cannot be differentiated"):
        loss.backward()  # type: ignore[no-untyped-call]
    if all(parameter.grad is None for parameter in model.parameters()):
        raise ValueError(f"no parameter of {builder} has a gradient: nothing would be trained")


@contextlib.contextmanager
def _explained(what: str) -> Iterator[None]:
    """Say what was tried when PyTorch, or a user's code, raised."""
    try:
        yield
    except FAILURES as error:
        text = str(error).strip().partition("\n")[0]
        raise ValueError(f"{what}: {type(error).__name__}: {text}") from error


def _shapes(inputs: Any) -> str:
    return " and ".join(f"{list(one.shape)} {one.dtype}" for one in tensors_of(inputs))


def _same(one: Any, other: Any) -> bool:
    if isinstance(one, Tensor) and isinstance(other, Tensor):
        return one.shape == other.shape and bool(torch.equal(one, other))
    return type(one) is type(other)
