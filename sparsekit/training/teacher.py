"""The teacher of a fit: a stored network beside the one that is trained, which learns from it."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from fnmatch import fnmatchcase
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd

from sparsekit.core.distillation import Distillation, soft_targets, squarehead
from sparsekit.core.fit_spec import FitSpec
from sparsekit.core.prune import apply
from sparsekit.core.types import Masks, State
from sparsekit.data.batches import Inputs, call
from sparsekit.models.examples import Example, run_example
from sparsekit.models.flops import flops
from sparsekit.networks.network import Network, stored_network
from sparsekit.store.store import Store
from sparsekit.store.tensors import load_network
from sparsekit.tasks.types import Task
from sparsekit.training.settings import Runtime

Outputs = dict[str, list[Any]]


@dataclasses.dataclass(frozen=True)
class Teacher:
    """A frozen network in evaluation mode, and what is learned from it.

    `layers`: names of the modules whose outputs are compared, the same in student and teacher.
    `flops`: operations of its forward pass for one example. It is not a submodule of the student,
    so that state-dict keys, optimizer and DDP do not see it; each rank has its own.
    """

    model: nn.Module
    distillation: Distillation
    task: Task
    layers: tuple[str, ...]
    flops: float

    def loss(
        self,
        student: nn.Module,
        forward: Callable[[Inputs], Any],
        inputs: Inputs,
        targets: Any,
    ) -> Tensor:
        """Return the loss of `student`, called as `forward`, mixed as the distillation says."""
        # The student first: whatever the teacher might draw must not change what the student draws.
        with recorded(student, self.layers) as learned:
            outputs = forward(inputs)
        with torch.no_grad(), recorded(self.model, self.layers) as known:
            taught = call(self.model, inputs)
        asked = self.distillation
        counted = None if self.task.counted is None else self.task.counted(targets)
        terms = []
        if asked.weight_of_task:
            terms.append(asked.weight_of_task * self.task.loss(outputs, targets))
        if asked.temperature is not None and self.task.soften is not None:
            softened = [self.task.soften(one, asked.temperature) for one in (outputs, taught)]
            divergence = soft_targets(*softened, temperature=asked.temperature, counted=counted)
            terms.append(asked.logits_weight * divergence)
        if self.layers:
            pairs = [_in_order(one, self.layers) for one in (learned, known)]
            error = squarehead(*pairs, eps=asked.eps, counted=counted)
            terms.append(asked.features_weight * error)
        return torch.stack(terms).sum()

    def cost(self, num_steps: int, *, batch_size: int, passes_per_step: int) -> dict[str, float]:
        """Return how often it ran in `num_steps` steps, on how many examples, and operations."""
        examples = num_steps * batch_size
        return {
            "teacher_forward_passes": num_steps * passes_per_step,
            "teacher_examples": examples,
            "teacher_flops": examples * self.flops,
        }


def asked_teacher(
    spec: FitSpec, network: Network, model: nn.Module, *, store: Store, runtime: Runtime
) -> Teacher | None:
    """Return what `model`, built as `network`, learns from beside its task, if anything."""
    asked = spec.distillation
    if asked is None:
        return None
    check_compiled(asked, runtime)
    stored = stored_network(store, asked.teacher)
    state, masks = load_network(store, asked.teacher)
    task = spec.problem.task()
    teacher = teacher_of(asked, stored, state, masks, task=task, student=model, of=network)
    if spec.train.channels_last:
        teacher.model.to(memory_format=torch.channels_last)
    return teacher


def teacher_of(
    distillation: Distillation,
    network: Network,
    state: State,
    masks: Masks,
    *,
    task: Task,
    student: nn.Module,
    of: Network,
) -> Teacher:
    """Return the teacher `network`, with weights `state` under `masks`, of a student built as `of`.

    ValueError where inputs or, for logits, numbers of outputs differ; where the outputs of the task
    are not logits; and for layers as in `layers_of`.
    """
    if network.inputs != of.inputs:
        raise ValueError(
            f"distillation.teacher gets inputs {network.inputs}, the network that is trained "
            f"{of.inputs}; they must be the same"
        )
    if distillation.logits_weight:
        _check_logits(network.num_outputs, of.num_outputs, task)
    model = network.loaded(apply(state, masks)).eval().requires_grad_(False)
    example = network.example()
    layers: tuple[str, ...] = ()
    if distillation.features_weight:
        layers = layers_of(student, model, example, patterns=distillation.layers)
    densities = {name: float(mask.float().mean()) for name, mask in masks.items()}
    work = flops(model, example).total(densities)
    return Teacher(model, distillation, task, layers, work)


def check_compiled(distillation: Distillation, runtime: Runtime) -> None:
    """Raise ValueError where the outputs of layers are asked for and layers are compiled away."""
    if distillation.features_weight and runtime.compile:
        raise ValueError("runtime.compile=true hides the layers whose features are distilled")


def _check_logits(taught: int, trained: int, task: Task) -> None:
    if task.soften is None:
        raise ValueError(
            "distillation.logits_weight needs outputs that are logits, and those of this task are "
            "not (it has no `soften`); distil features, of the last layer too: "
            "+distillation=features"
        )
    if taught != trained:
        raise ValueError(
            f"distillation.teacher has {taught} outputs, the network that is trained {trained}; "
            "their logits cannot be compared"
        )


def layers_of(
    student: nn.Module, teacher: nn.Module, example: Example, *, patterns: Sequence[str]
) -> tuple[str, ...]:
    """Return the names of the modules whose outputs are compared, in the order of the student.

    Those that match a glob pattern; without patterns all linear and convolution layers. Only
    modules count that run exactly once for an example, in both networks, and return one tensor.
    ValueError where nothing is left, for a pattern that matches none, and for different shapes.
    """
    ran, known = (_outputs(model, example) for model in (student, teacher))
    common = [name for name in ran if name in known]
    if patterns:
        chosen = _matching(patterns, common)
    else:
        kinds = dict(student.named_modules())
        chosen = [name for name in common if isinstance(kinds[name], nn.Linear | _ConvNd)]
    if not chosen:
        raise ValueError(
            "distillation of features: student and teacher have no linear or convolution layer of "
            f"the same name; distillation.layers takes any of: {', '.join(common) or 'none'}"
        )
    differing = [name for name in chosen if ran[name] != known[name]]
    if differing:
        shown = ", ".join(f"{n} ({list(ran[n])} and {list(known[n])})" for n in differing)
        raise ValueError(
            f"distillation of features: student and teacher have outputs of different shapes in "
            f"{shown}; name others with distillation.layers=[PATTERN]"
        )
    return tuple(chosen)


def _matching(patterns: Sequence[str], names: Sequence[str]) -> list[str]:
    for pattern in patterns:
        if not any(fnmatchcase(name, pattern) for name in names):
            raise ValueError(
                f"distillation.layers: {pattern!r} matches none of the modules that student and "
                f"teacher have in common: {', '.join(names) or 'none'}"
            )
    return [name for name in names if any(fnmatchcase(name, pattern) for pattern in patterns)]


def _outputs(model: nn.Module, example: Example) -> dict[str, torch.Size]:
    """Return the shapes of what the named modules return that run once and give one tensor."""
    names = [name for name, _ in model.named_modules() if name]
    with recorded(model, names) as outputs:
        run_example(model, example)
    return {
        name: outputs[name][0].shape
        for name in names
        if len(outputs[name]) == 1 and isinstance(outputs[name][0], Tensor)
    }


@contextmanager
def recorded(model: nn.Module, names: Sequence[str]) -> Iterator[Outputs]:
    """Yield a mapping that holds what each named module returned, once per call within."""
    outputs: Outputs = {name: [] for name in names}
    hooks = [
        model.get_submodule(name).register_forward_hook(partial(_record, outputs[name]))
        for name in names
    ]
    try:
        yield outputs
    finally:
        for hook in hooks:
            hook.remove()


def _record(outputs: list[Any], module: nn.Module, inputs: Any, output: Any) -> None:
    # A copy, because what comes next may work in place, as nn.ReLU(inplace=True) does.
    outputs.append(output.clone() if isinstance(output, Tensor) else output)


def _in_order(outputs: Outputs, names: Sequence[str]) -> list[Tensor]:
    for name in names:
        if len(outputs[name]) != 1:
            raise RuntimeError(
                f"distillation of features: {name} ran {len(outputs[name])} times in one forward "
                "pass of the training; it must run once"
            )
    return [outputs[name][0] for name in names]
