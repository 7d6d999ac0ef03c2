"""What pruning asks of a task: gradients, products with the Hessian, SynFlow's flow, old masks."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cached_property, partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.modules.batchnorm import _BatchNorm

from sparsekit.core.seeds import derive
from sparsekit.core.types import Masks, Sample, Weights
from sparsekit.data.batches import Inputs, concatenate, map_tensors, num_examples, part, tensors_of
from sparsekit.data.types import Data
from sparsekit.store.store import Store
from sparsekit.store.tensors import load_network
from sparsekit.tasks.types import Task
from sparsekit.training.evaluate import EVALUATION_BATCH

READING_BATCH = 256
WITHOUT_CLASSES = 10
GRADIENT, HESSIAN_PRODUCT = 3, 9
Batch = tuple[Inputs, Any]


@dataclasses.dataclass(frozen=True, eq=False)
class GradientProbe:
    """A `Probe` of the model that `load` returns, by the loss of `task` on training examples.

    The model is loaded when it is first asked for and never changed: weights and copies of the
    buffers are handed to its forward pass, so BatchNorm's running statistics stay as they are.
    Answers lie on the CPU. `store`: where tickets are looked up by their keys. `note` is told what
    an answer cost, in forward passes of one example: a gradient three, a product with the Hessian
    nine (the gradient, and the backward pass through all three of it).
    """

    load: Callable[[], nn.Module]
    data: Data
    task: Task
    device: torch.device
    store: Store | None = None
    note: Callable[[float], None] = lambda passes: None
    _drawn: dict[Sample, Sequence[Batch]] = dataclasses.field(
        default_factory=dict, init=False, repr=False
    )

    def gradients(
        self, weights: Weights, sample: Sample | None = None, *, temperature: float = 1.0
    ) -> Weights:
        """See `Probe.gradients`. Without a sample: the first evaluation batch of the split."""
        total = _zeros(weights)
        batches = self._batches(sample)
        for batch in batches:
            leaves = self._leaves(weights)
            with _reproducible():
                loss = self._loss(leaves, batch, sample, temperature)
                part = _gradient(loss / len(batches), leaves)
            self.note(GRADIENT * num_examples(batch[0]))
            total = {name: total[name] + part[name].detach().cpu() for name in weights}
        return total

    def hessian_product(
        self, weights: Weights, direction: Weights, sample: Sample, *, temperature: float = 1.0
    ) -> Weights:
        """See `Probe.hessian_product`. Exact: the gradient of <gradient, direction>."""
        total = _zeros(weights)
        along = {name: direction[name].detach().to(self.device) for name in weights}
        batches = self._batches(sample)
        for batch in batches:
            leaves = self._leaves(weights)
            with _reproducible():
                loss = self._loss(leaves, batch, sample, temperature)
                slope = _gradient(loss / len(batches), leaves, differentiable=True)
                inner = torch.stack([(slope[name] * along[name]).sum() for name in leaves]).sum()
                part = _gradient(inner, leaves)
            self.note(HESSIAN_PRODUCT * num_examples(batch[0]))
            total = {name: total[name] + part[name].detach().cpu() for name in weights}
        return total

    def flow(self, weights: Weights) -> Weights:
        """See `Probe.flow`. On the CPU where the device has no float64 (MPS).

        ValueError if R is not finite even in float64.
        """
        device = torch.device("cpu") if self.device.type == "mps" else self.device
        model = self._model.eval()
        absolute = {
            name: tensor.abs().to(device, torch.float64) if tensor.is_floating_point() else tensor
            for name, tensor in _tensors(model).items()
        }
        leaves = {
            name: weight.detach().to(device, torch.float64).abs().requires_grad_()
            for name, weight in weights.items()
        }
        ones = map_tensors(self.data.example(), partial(_ones, device=device))
        with _reproducible():
            output = _summed(_called(model, {**absolute, **leaves}, ones))
            if not bool(output.isfinite()):
                raise ValueError(f"the sum of SynFlow's output is {output.item()}, not finite")
            found = _gradient(output, leaves)
        self.note(GRADIENT)
        return {name: flow.cpu() for name, flow in found.items()}

    def inputs(self) -> Inputs:
        """See `Probe.inputs`."""
        return self._batches(None)[0][0]

    def stored_masks(self, ticket: str) -> Masks:
        """See `Probe.stored_masks`. ValueError also without a store."""
        if self.store is None:
            raise ValueError(f"ticket={ticket!r} cannot be looked up: this probe has no store")
        if ticket not in self.store.keys(ticket.split("-", 1)[0]):
            raise ValueError(
                f"ticket={ticket!r} is not in the store {self.store.root}; "
                "the keys of a run stand in its record below named/"
            )
        _, masks = load_network(self.store, ticket)
        return masks

    @cached_property
    def _model(self) -> nn.Module:
        return self.load().to(self.device)

    def _leaves(self, weights: Weights) -> Weights:
        # In the model's order, or the bits would depend on the order of `weights`
        return {
            name: weights[name].detach().clone().to(self.device).requires_grad_()
            for name, _ in self._model.named_parameters()
            if name in weights
        }

    def _loss(
        self, leaves: Weights, batch: Batch, sample: Sample | None, temperature: float
    ) -> Tensor:
        """Return the mean loss of one batch, of logits / temperature."""
        model = self._model.eval()
        for module in model.modules():
            if isinstance(module, _BatchNorm):
                module.train(sample is not None and sample.train_mode)
        inputs, targets = batch
        outputs = _called(model, {**_tensors(model), **leaves}, inputs)
        return self.task.loss(self._softened(outputs, temperature), targets)

    def _softened(self, outputs: Any, temperature: float) -> Any:
        if temperature == 1.0:
            return outputs
        if self.task.soften is None:
            raise ValueError(
                f"temperature={temperature:g} divides logits, but the outputs of this task are not "
                "logits; use method.prune.score.temperature=1"
            )
        return self.task.soften(outputs, temperature)

    def _batches(self, sample: Sample | None) -> Sequence[Batch]:
        if sample is None:
            batches = self.data.eval_batches(
                "train", batch_size=EVALUATION_BATCH, device=self.device
            )
            return [next(iter(batches))]
        if sample not in self._drawn:
            self._drawn[sample] = draw(self.data, self.task, sample, device=self.device)
        return self._drawn[sample]


def draw(data: Data, task: Task, sample: Sample, *, device: torch.device) -> list[Batch]:
    """Return batches of training examples, augmented as in training, equally many of every class.

    Epoch 0 of an order seeded by `sample.seed` is read until every class has enough; of a task
    without classes, until there are `WITHOUT_CLASSES` times `sample.images_per_class` examples.
    ValueError naming a class that has too few.
    """
    num_classes = data.num_outputs if task.classes else 1
    wanted = sample.images_per_class * (1 if task.classes else WITHOUT_CLASSES)
    per_class: list[list[Batch]] = [[] for _ in range(num_classes)]
    missing = num_classes * wanted
    stream = data.train_batches(
        batch_size=min(READING_BATCH, data.num_train),
        seed=derive(sample.seed, "probe"),
        epoch=0,
        device=device,
    )
    for inputs, targets in stream:
        found = task.classes(targets).tolist() if task.classes else [0] * num_examples(inputs)
        missing -= _take_(per_class, (inputs, targets), found, limit=wanted)
        if not missing:
            return _dealt(per_class, sample.num_batches)
    label, least = min(enumerate(per_class), key=lambda item: len(item[1]))
    of_class = f" of class {label}" if task.classes else ""
    raise ValueError(
        f"images_per_class={sample.images_per_class}, but one epoch of {data.name} holds "
        f"{len(least)} examples{of_class}"
    )


def _take_(
    per_class: list[list[Batch]], batch: Batch, classes: Sequence[int], *, limit: int
) -> int:
    """Append to each class what it lacks; return how many examples were taken."""
    inputs, targets = batch
    num_taken = 0
    for position, label in enumerate(classes):
        if len(per_class[label]) < limit:
            # Copies, or one example would keep its whole batch in memory
            one = concatenate([part(inputs, position, position + 1)])
            per_class[label].append((one, concatenate([part(targets, position, position + 1)])))
            num_taken += 1
    return num_taken


def _dealt(per_class: Sequence[Sequence[Batch]], num_batches: int) -> list[Batch]:
    size = len(per_class[0]) // num_batches
    batches = []
    for start in range(0, size * num_batches, size):
        chosen = [one for found in per_class for one in found[start : start + size]]
        inputs = concatenate([inputs for inputs, _ in chosen])
        batches.append((inputs, concatenate([targets for _, targets in chosen])))
    return batches


def _ones(like: Tensor, device: torch.device) -> Tensor:
    if not like.is_floating_point():
        raise ValueError(
            f"synflow sends ones through the network, but its inputs are {like.dtype}, such as "
            "token ids; use another score"
        )
    return torch.ones(like.shape, dtype=torch.float64, device=device)


def _summed(outputs: Any) -> Tensor:
    """Return the sum of all outputs, of a tensor or of a tuple or dict of tensors."""
    return torch.stack([one.sum() for one in tensors_of(outputs)]).sum()


def _called(model: nn.Module, tensors: Mapping[str, Tensor], inputs: Inputs) -> Any:
    """Call `model` with other parameters and buffers."""
    if isinstance(inputs, dict):
        return functional_call(model, dict(tensors), (), inputs)
    return functional_call(model, dict(tensors), tuple(tensors_of(inputs)))


def _tensors(model: nn.Module) -> dict[str, Tensor]:
    """Return parameters and copies of the buffers of a model, which a forward pass may fill."""
    parameters = {name: tensor.detach() for name, tensor in model.named_parameters()}
    return {**parameters, **{name: tensor.clone() for name, tensor in model.named_buffers()}}


def _zeros(weights: Weights) -> Weights:
    return {name: torch.zeros_like(weight, device="cpu") for name, weight in weights.items()}


def _gradient(
    value: Tensor, leaves: Mapping[str, Tensor], *, differentiable: bool = False
) -> Weights:
    """Return d(value)/d(leaves); zero if a leaf has no effect."""
    gradients = torch.autograd.grad(
        value, list(leaves.values()), create_graph=differentiable, materialize_grads=True
    )
    return dict(zip(leaves, gradients, strict=True))


@contextmanager
def _reproducible() -> Iterator[None]:
    """Use convolutions without atomics or TF32, and attention with a second derivative."""
    with (
        torch.backends.cudnn.flags(enabled=True, deterministic=True, allow_tf32=False),
        sdpa_kernel(SDPBackend.MATH),
    ):
        yield
