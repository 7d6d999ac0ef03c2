"""What pruning asks of a task: gradients, products with the Hessian, SynFlow's flow, old masks."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cached_property

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.functional import cross_entropy
from torch.nn.modules.batchnorm import _BatchNorm

from sparsekit.core.seeds import derive
from sparsekit.core.types import Masks, Sample, Weights
from sparsekit.data.types import Data
from sparsekit.store.store import Store
from sparsekit.store.tensors import load_network
from sparsekit.training.history import EVALUATION_BATCH

READING_BATCH = 256
Batch = tuple[Tensor, Tensor]


@dataclasses.dataclass(frozen=True, eq=False)
class GradientProbe:
    """A `Probe` of the model that `load` returns, with its loss on the training images of `data`.

    The model is loaded when it is first asked for and never changed: weights and copies of the
    buffers are handed to its forward pass, so BatchNorm's running statistics stay as they are.
    Answers lie on the CPU. `store`: where tickets are looked up by their keys.
    """

    load: Callable[[], nn.Module]
    data: Data
    device: torch.device
    store: Store | None = None
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
        ones = torch.ones(1, *self.data.image_shape, dtype=torch.float64, device=device)
        with _reproducible():
            output = functional_call(model, {**absolute, **leaves}, (ones,)).sum()
            if not bool(output.isfinite()):
                raise ValueError(f"the sum of SynFlow's output is {output.item()}, not finite")
            return {name: flow.cpu() for name, flow in _gradient(output, leaves).items()}

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
        """Mean cross-entropy of one batch, of logits / temperature."""
        model = self._model.eval()
        for module in model.modules():
            if isinstance(module, _BatchNorm):
                module.train(sample is not None and sample.train_mode)
        images, labels = batch
        logits = functional_call(model, {**_tensors(model), **leaves}, (images,))
        return cross_entropy(logits / temperature, labels)

    def _batches(self, sample: Sample | None) -> Sequence[Batch]:
        if sample is None:
            batches = self.data.eval_batches(
                "train", batch_size=EVALUATION_BATCH, device=self.device
            )
            return [next(iter(batches))]
        if sample not in self._drawn:
            self._drawn[sample] = draw(self.data, sample, device=self.device)
        return self._drawn[sample]


def draw(data: Data, sample: Sample, *, device: torch.device) -> list[Batch]:
    """Batches of training images, augmented as in training, with equally many of every class.

    Epoch 0 of an order seeded by `sample.seed` is read until every class has enough. ValueError
    naming a class that has too few.
    """
    per_class: list[list[Tensor]] = [[] for _ in range(data.num_classes)]
    missing = data.num_classes * sample.images_per_class
    stream = data.train_batches(
        batch_size=min(READING_BATCH, data.num_train),
        seed=derive(sample.seed, "probe"),
        epoch=0,
        device=device,
    )
    for images, labels in stream:
        missing -= _take_(per_class, images, labels.tolist(), limit=sample.images_per_class)
        if not missing:
            return _dealt(per_class, sample.num_batches)
    label, found = min(enumerate(per_class), key=lambda item: len(item[1]))
    raise ValueError(
        f"images_per_class={sample.images_per_class}, but one epoch of {data.name} holds "
        f"{len(found)} images of class {label}"
    )


def _take_(
    per_class: list[list[Tensor]], images: Tensor, labels: Sequence[int], *, limit: int
) -> int:
    """Append to each class what it lacks; return how many images were taken."""
    room = [limit - len(found) for found in per_class]
    positions = []
    for position, label in enumerate(labels):
        if room[label]:
            room[label] -= 1
            positions.append(position)
    # A copy, or one image would keep its whole batch in memory
    taken = images[torch.tensor(positions, dtype=torch.int64, device=images.device)]
    for image, position in zip(taken, positions, strict=True):
        per_class[labels[position]].append(image)
    return len(positions)


def _dealt(per_class: Sequence[Sequence[Tensor]], num_batches: int) -> list[Batch]:
    size = len(per_class[0]) // num_batches
    batches = []
    for start in range(0, size * num_batches, size):
        images = [image for found in per_class for image in found[start : start + size]]
        labels = torch.arange(len(per_class)).repeat_interleave(size)
        batches.append((torch.stack(images), labels.to(images[0].device)))
    return batches


def _tensors(model: nn.Module) -> dict[str, Tensor]:
    """Parameters and buffers of a model; the buffers are copies, which a forward pass may fill."""
    parameters = {name: tensor.detach() for name, tensor in model.named_parameters()}
    return {**parameters, **{name: tensor.clone() for name, tensor in model.named_buffers()}}


def _zeros(weights: Weights) -> Weights:
    return {name: torch.zeros_like(weight, device="cpu") for name, weight in weights.items()}


def _gradient(
    value: Tensor, leaves: Mapping[str, Tensor], *, differentiable: bool = False
) -> Weights:
    """d(value)/d(leaves); zero where nothing depends on a leaf."""
    gradients = torch.autograd.grad(
        value, list(leaves.values()), create_graph=differentiable, materialize_grads=True
    )
    return dict(zip(leaves, gradients, strict=True))


@contextmanager
def _reproducible() -> Iterator[None]:
    """Convolutions without atomics or TF32, attention with a second derivative."""
    with (
        torch.backends.cudnn.flags(enabled=True, deterministic=True, allow_tf32=False),
        sdpa_kernel(SDPBackend.MATH),
    ):
        yield
