"""Bytes per weight that masks add to a fit, and their steps: `python -m benchmarks.mask_memory`.

Bytes: a process of its own builds a model, its gradients and the state of its optimizer, then the
shipped `Masking` masks two steps; the masks and what resident memory grows by at most, over the
number of masked weights, is what masks cost. Pages of libraries that are read from disk because
their code runs for the first time are told apart: the model's size does not change them. Beside it
the same with float copies of the masks, as kept on GPUs. Linux alone tells a process its peak.

Steps: forward pass, backward pass, optimizer, and one of the ways to mask the weights in place, on
one model, interleaved.
"""

from __future__ import annotations

import gc
import itertools
import sys
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from multiprocessing import get_context
from pathlib import Path

import torch
from lightning.pytorch import LightningModule, Trainer
from torch import Tensor, nn

from benchmarks import timing
from benchmarks.inputs import random_batches, random_masks
from benchmarks.masks import CIFAR, DENSITY, MNIST, Setting, optimizer_of
from sparsekit.core.types import Masks
from sparsekit.models.cifar_resnet import cifar_resnet
from sparsekit.models.lenet import lenet_300_100
from sparsekit.models.torchvision_models import vit_b_16
from sparsekit.training import masking as masking_module
from sparsekit.training.masking import Masking
from sparsekit.training.multiplying import multipliers, multiply_
from sparsekit.training.optimizers import adamw, sgd

OURS, COPIES = "ours (bytes of the masks)", "float copies, foreach"
MOST_BYTES, MOST_MORE = 1.005, 0.01
IMAGENET = (3, 224, 224)
VIT = Setting("ViT-B/16, batch 4, AdamW", vit_b_16, IMAGENET, adamw, 4, 1, 1 + MOST_MORE)
SETTINGS = (
    Setting("LeNet-300-100, batch 128, SGD", lenet_300_100, MNIST, sgd, 128, 50, 1 + MOST_MORE),
    Setting("ResNet-20, batch 64, SGD", cifar_resnet, CIFAR, sgd, 64, 2, 1 + MOST_MORE),
    VIT,
)
QUICK = (Setting("LeNet-300-100, batch 8, SGD", lenet_300_100, MNIST, sgd, 8, 2, 1 + MOST_MORE),)


def trained(setting: Setting) -> tuple[nn.Module, torch.optim.Optimizer]:
    """A model after one step, so that gradients and the optimizer's state are there."""
    torch.manual_seed(0)
    model = setting.model(setting.image_shape, 10)
    optimizer = optimizer_of(setting, model)
    for parameter in model.parameters():
        parameter.grad = torch.full_like(parameter, 1e-3)
    optimizer.step()
    return model, optimizer


def resident(field: str) -> int:
    """Bytes of this process: "VmRSS" now, "VmHWM" at its peak, "RssFile" those read from files."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(field))


def growth(setting: Setting, *, copies: bool) -> tuple[float, float]:
    """Bytes per masked weight: masks and what applying them twice adds at the peak; code read."""
    if copies:
        masking_module.multipliers = as_copies
    model, optimizer = trained(setting)
    trainer = Trainer(accelerator="cpu", logger=False, enable_checkpointing=False)
    trainer.optimizers = [optimizer]
    module = LightningModule()
    module.model = model
    masks = random_masks(model, density=DENSITY)
    gc.collect()
    before, code_before = resident("VmRSS"), resident("RssFile")
    Path("/proc/self/clear_refs").write_text("5")  # the peak starts from here
    masking = Masking(masks, prefix="model.")
    masking.on_train_start(trainer, module)
    for _ in range(2):
        masking.on_before_optimizer_step(trainer, module, optimizer)
        optimizer.step()
        masking.on_train_batch_end(trainer, module, None, None, 0)
    of_masks = sum(mask.nbytes for mask in masks.values())
    num = sum(mask.numel() for mask in masks.values())
    code = resident("RssFile") - code_before
    return (of_masks + resident("VmHWM") - before - code) / num, code / num


def as_copies(weights: Sequence[Tensor], masks: Sequence[Tensor]) -> list[Tensor]:
    """Float copies of the masks, whatever the device."""
    return [torch.empty_like(w).copy_(m).detach() for w, m in zip(weights, masks, strict=True)]


def answered(setting: Setting, copies: bool, answers: object) -> None:
    """Put what `growth` found on a queue."""
    answers.put(growth(setting, copies=copies))  # type: ignore[attr-defined]


def measured_growth(setting: Setting, *, copies: bool) -> tuple[float, float]:
    """`growth` in a process of its own."""
    context = get_context("fork")
    answers = context.SimpleQueue()
    process = context.Process(target=answered, args=(setting, copies, answers))
    process.start()
    process.join()
    of_masks, code = answers.get()
    return float(of_masks), float(code)


def memory(setting: Setting) -> list[str]:
    """Bytes per weight of both ways, and a verdict."""
    found = {way: measured_growth(setting, copies=way == COPIES) for way in (OURS, COPIES)}
    spread = timing.spread([found[OURS][0]])
    body = [[way, f"{num:.4f}", f"{code:.4f}"] for way, (num, code) in found.items()]
    return [
        f"### Memory of {setting.name}",
        timing.markdown(("way", "bytes per masked weight", "code read meanwhile"), body),
        timing.at_most("bytes per masked weight of ours", spread, MOST_BYTES),
    ]


def ways_to_mask(parameters: Mapping[str, nn.Parameter], masks: Masks) -> dict[str, Callable]:
    """Every way masks the weights in place."""
    weights = [parameters[name].detach() for name in masks]
    bools = list(masks.values())
    inverse = [~mask for mask in bools]
    copies, by = as_copies(weights, bools), multipliers(weights, bools)
    return {
        "dense": lambda: None,
        OURS: lambda: multiply_(weights, by),
        COPIES: lambda: torch._foreach_mul_(weights, copies),
        "foreach by bools": lambda: torch._foreach_mul_(weights, bools),
        "masked_fill": lambda: [
            w.masked_fill_(m, 0) for w, m in zip(weights, inverse, strict=True)
        ],
    }


def steps(setting: Setting, options: timing.Options) -> list[str]:
    """A step with every way of masking, and the time of the way alone."""
    model, optimizer = trained(setting)
    drawn = random_batches(4, setting.batch_size, setting.image_shape)
    batches = itertools.cycle(drawn)
    masks = random_masks(model, density=DENSITY)
    ways = ways_to_mask(dict(model.named_parameters()), masks)
    for after in ways.values():
        after()
    samples = timing.interleave(
        {
            name: partial(sample, model, optimizer, batches, setting.num_steps, after, options)
            for name, after in ways.items()
        },
        rounds=options.rounds,
    )
    times = {name: [step for step, _ in taken] for name, taken in samples.items()}
    alone = {name: [mask for _, mask in taken] for name, taken in samples.items()}
    more = [
        (ours - copies) / step
        for ours, copies, step in zip(alone[OURS], alone[COPIES], times[COPIES], strict=True)
    ]
    body = [
        [*row, timing.shown(timing.spread(alone[row[0]]).median)]
        for row in timing.rows(times, base=COPIES)
    ]
    return [
        f"### Steps of {setting.name}",
        timing.markdown((*timing.HEAD, "masking alone"), body),
        timing.at_most("more than float copies, in parts of a step", timing.spread(more), MOST_MORE)
        + f"; masking alone: {timing.paired(alone, OURS, COPIES).median:.2f} of it",
    ]


def sample(
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    batches: itertools.cycle[tuple[Tensor, Tensor]],
    num_steps: int,
    after: Callable[[], object],
    options: timing.Options,
) -> tuple[float, float]:
    """Seconds per step, and those of them that masking took."""
    started, masking = options.clock(), 0.0
    timed = timing.timed(after, options.clock)
    for images, labels in itertools.islice(batches, num_steps):
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(images), labels).backward()
        optimizer.step()
        masking += timed()
    return (options.clock() - started) / num_steps, masking / num_steps


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure memory of the largest setting, and steps of all."""
    options = timing.read_options(__doc__ or "", arguments, rounds=15, clocks=("wall", "cpu"))
    settings = QUICK if options.quick else SETTINGS
    parts = [*memory(settings[-1]), *(part for one in settings for part in steps(one, options))]
    introduction = f"At {1 - DENSITY:.0%} sparsity; ratios of steps to those with float copies."
    timing.report("Memory of masks", [introduction, *parts], options)
    return 0


if __name__ == "__main__":
    sys.exit(main())
