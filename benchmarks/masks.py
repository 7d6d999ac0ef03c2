"""What masks cost per training step: `python -m benchmarks.masks`.

The step is forward, backward, optimizer; ours is the shipped `Masking` callback, called as the
trainer calls it. Optimizers are those of `sparsekit.training.optimizers`, fused as they come.
"""

from __future__ import annotations

import dataclasses
import itertools
import logging
import math
import sys
from collections.abc import Callable, Sequence
from functools import partial

import torch
from lightning.pytorch import LightningModule, Trainer
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.nn.utils import parametrize, prune
from torch.optim import Optimizer

from benchmarks import timing
from benchmarks.inputs import NUM_CLASSES, random_batches, random_masks
from sparsekit.core.types import Masks
from sparsekit.models.cifar_resnet import cifar_resnet
from sparsekit.models.lenet import lenet_300_100
from sparsekit.models.timm_models import timm_model
from sparsekit.models.torchvision_models import resnet18_cifar
from sparsekit.training.masking import Masking
from sparsekit.training.optimizers import adamw, sgd

DENSITY = 0.1
NUM_BATCHES = 4
CIFAR, MNIST = (3, 32, 32), (1, 28, 28)
OURS = "ours (weights after the step)"
vit_tiny = partial(timm_model, name="vit_tiny_patch16_224", options={"patch_size": 4})
tiny_resnet = partial(cifar_resnet, depth=8, width=4)


@dataclasses.dataclass(frozen=True)
class Setting:
    """A training to slow down; one sample is the mean over `num_steps` steps."""

    name: str
    model: Callable[[tuple[int, int, int], int], nn.Module]
    image_shape: tuple[int, int, int]
    optimizer: Callable[..., Optimizer]
    batch_size: int
    num_steps: int
    target: float
    channels_last: bool = False


SETTINGS = (
    Setting("ResNet-18 CIFAR, batch 64, SGD", resnet18_cifar, CIFAR, sgd, 64, 1, 1.01, True),
    Setting("ViT-tiny 32x32, batch 64, AdamW", vit_tiny, CIFAR, adamw, 64, 1, 1.01),
    Setting("LeNet-300-100, batch 128, SGD", lenet_300_100, MNIST, sgd, 128, 50, 1.10),
    Setting("LeNet-300-100, batch 128, AdamW", lenet_300_100, MNIST, adamw, 128, 50, 1.10),
)
QUICK = (
    Setting("tiny ResNet, batch 4, SGD", tiny_resnet, CIFAR, sgd, 4, 2, 1.01, True),
    Setting("LeNet-300-100, batch 8, AdamW", lenet_300_100, MNIST, adamw, 8, 5, 1.10),
)


@dataclasses.dataclass(frozen=True)
class Sample:
    """Seconds per step, the part of them spent in the masking hooks, and the last loss."""

    step: float
    hooks: float
    loss: float


Way = Callable[[], Sample]


def steps(
    setting: Setting,
    model: nn.Module,
    optimizer: Optimizer,
    clock: timing.Clock,
    *,
    before: Callable[[], None] = lambda: None,
    after: Callable[[], None] = lambda: None,
    inside: Callable[[], float] = lambda: 0.0,
) -> Way:
    """A way that trains on; `before` and `after` are called around the optimizer's step.

    `inside` gives the seconds that hooks of the optimizer have taken since it was last asked.
    """
    memory_format = torch.channels_last if setting.channels_last else torch.contiguous_format
    drawn = random_batches(NUM_BATCHES, setting.batch_size, setting.image_shape)
    pairs = [(images.to(memory_format=memory_format), labels) for images, labels in drawn]
    batches = itertools.cycle(pairs)

    timed_before, timed_after = timing.timed(before, clock), timing.timed(after, clock)

    def way() -> Sample:
        hooks = 0.0
        started = clock()
        for images, labels in itertools.islice(batches, setting.num_steps):
            optimizer.zero_grad()
            loss = cross_entropy(model(images), labels)
            loss.backward()
            hooks += timed_before()
            optimizer.step()
            hooks += timed_after() + inside()
        total = clock() - started
        return Sample(total / setting.num_steps, hooks / setting.num_steps, loss.item())

    return way


def fresh(setting: Setting) -> tuple[nn.Module, Masks]:
    """The model of a setting and masks for it, the same at every call."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = setting.model(setting.image_shape, NUM_CLASSES)
    if setting.channels_last:
        model = model.to(memory_format=torch.channels_last)
    return model, random_masks(model, density=DENSITY)


def optimizer_of(setting: Setting, model: nn.Module) -> Optimizer:
    """Its optimizer, at a learning rate so small that no loss becomes special."""
    optimizer = setting.optimizer(list(model.named_parameters()))
    for group in optimizer.param_groups:
        group["lr"] = 1e-4
    return optimizer


def dense(setting: Setting, clock: timing.Clock) -> Way:
    """No masks at all."""
    model, _ = fresh(setting)
    return steps(setting, model, optimizer_of(setting, model), clock)


def ours(setting: Setting, clock: timing.Clock, *, mask_gradients: bool) -> Way:
    """The shipped callback, in a trainer that does nothing else."""
    model, masks = fresh(setting)
    optimizer = optimizer_of(setting, model)
    trainer = Trainer(
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.optimizers = [optimizer]
    module = LightningModule()
    module.model = model
    masking = Masking(masks, mask_gradients=mask_gradients, prefix="model.")
    spent: list[float] = []
    apply = timing.timed(masking.apply_, clock)
    masking.apply_ = lambda: spent.append(apply())  # type: ignore[method-assign]
    masking.on_train_start(trainer, module)
    return steps(
        setting,
        model,
        optimizer,
        clock,
        before=lambda: masking.on_before_optimizer_step(trainer, module, optimizer),
        after=lambda: masking.on_train_batch_end(trainer, module, None, None, 0),
        inside=lambda: math.fsum(spent.pop() for _ in range(len(spent))),
    )


def torch_prune(setting: Setting, clock: timing.Clock) -> Way:
    """`torch.nn.utils.prune`: a forward hook sets weight = weight_orig * mask."""
    model, masks = fresh(setting)
    for name, mask in masks.items():
        layer, parameter = owner(model, name)
        prune.custom_from_mask(layer, parameter, mask)
    return steps(setting, model, optimizer_of(setting, model), clock)


def parametrized(setting: Setting, clock: timing.Clock) -> Way:
    """`torch.nn.utils.parametrize`: the weight is a property that computes weight * mask."""
    model, masks = fresh(setting)
    for name, mask in masks.items():
        layer, parameter = owner(model, name)
        parametrize.register_parametrization(layer, parameter, Times(mask.float()))
    return steps(setting, model, optimizer_of(setting, model), clock)


class Times(nn.Module):
    """Multiplies by a fixed mask."""

    def __init__(self, mask: Tensor) -> None:
        super().__init__()
        self.register_buffer("mask", mask)

    def forward(self, weight: Tensor) -> Tensor:
        return weight * self.mask


def owner(model: nn.Module, name: str) -> tuple[nn.Module, str]:
    """The layer that holds a parameter, and the parameter's name there."""
    path, _, parameter = name.rpartition(".")
    return model.get_submodule(path), parameter


WAYS: dict[str, Callable[[Setting, timing.Clock], Way]] = {
    "dense": dense,
    OURS: partial(ours, mask_gradients=False),
    "ours, gradients before it too": partial(ours, mask_gradients=True),
    "torch.nn.utils.prune": torch_prune,
    "torch.nn.utils.parametrize": parametrized,
}


def measure(setting: Setting, options: timing.Options) -> list[str]:
    """Table and verdict of one setting."""
    ways = {name: way(setting, options.clock) for name, way in WAYS.items()}
    samples = timing.interleave(ways, rounds=options.rounds)
    times = {name: [sample.step for sample in taken] for name, taken in samples.items()}
    hooks = {name: share_of_hooks(taken) for name, taken in samples.items()}
    body = [[*row, f"{hooks[row[0]]:.2%}"] for row in timing.rows(times, base="dense")]
    return [
        f"### {setting.name}{', channels last' if setting.channels_last else ''}",
        timing.markdown((*timing.HEAD, "time in the hooks"), body),
        timing.at_most("ours / dense", timing.paired(times, OURS, "dense"), setting.target)
        + f"; measured inside the step: {hooks[OURS] - hooks['dense']:+.2%}",
        agreement(samples),
    ]


def share_of_hooks(taken: Sequence[Sample]) -> float:
    """Median share of a step spent in the masking hooks."""
    return timing.spread([sample.hooks / sample.step for sample in taken]).median


def agreement(samples: dict[str, list[Sample]]) -> str:
    """Did all masked ways do the same work?"""
    losses = {name: taken[-1].loss for name, taken in samples.items() if name != "dense"}
    if len(set(losses.values())) == 1:
        return "- the last losses of all masked ways are equal, bit for bit"
    return "- last losses: " + ", ".join(f"{name} {loss!r}" for name, loss in losses.items())


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure every setting."""
    options = timing.read_options(__doc__ or "", arguments, rounds=25, clocks=("wall", "cpu"))
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
    settings: tuple[Setting, ...] = QUICK if options.quick else SETTINGS
    parts = [part for setting in settings for part in measure(setting, options)]
    introduction = f"Per training step at {1 - DENSITY:.0%} sparsity; optimizers fused."
    timing.report("Masks in a training step", [introduction, *parts], options)
    return 0


if __name__ == "__main__":
    sys.exit(main())
