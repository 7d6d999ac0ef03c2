"""Studies of one network beyond its accuracy: sureness, classes, other data, attacks, faults.

Most are of classifications: logits [B, C], one class per example. Each says on how many examples of
which split it was measured. Nothing is chosen on the test split: a temperature is fitted on
validation.
"""

from __future__ import annotations

import dataclasses
import statistics
from collections.abc import Callable, Sequence
from typing import Any, Literal

import torch
from torch import Tensor

from sparsekit.core.seeds import derive
from sparsekit.core.types import Sample
from sparsekit.evaluation import attacks as attack
from sparsekit.evaluation import calibration as sure
from sparsekit.evaluation.curvature import trace
from sparsekit.evaluation.detection import SCORES, detection
from sparsekit.evaluation.disparity import recalls
from sparsekit.evaluation.faults import flip_bits
from sparsekit.method.examples import (
    answers,
    examples_at,
    first_examples,
    images_in,
    pixel_scale,
    spread_places,
)
from sparsekit.method.other_images import other_images
from sparsekit.method.outputs import Split, classes_of, logits_of
from sparsekit.method.studies import StudyInput
from sparsekit.store.tensors import load_network

SIDE_OF_PATCHES = 4


def calibration(
    asked: StudyInput, *, num_bins: int = sure.BINS, split: Split = "test"
) -> dict[str, Any]:
    """Measure whether the ticket is as often right as it is sure; before and after a temperature.

    Definitions: `sparsekit.evaluation.calibration`. `bins` and `bins_of_equal_mass` are those
    of reliability diagrams.
    """
    logits, labels = _logits(asked, split)
    temperature = sure.fit_temperature(*_logits(asked, "val"))
    probs = sure.probabilities(logits)
    confidence, correct = sure.top(probs, labels)
    bins = sure.equal_width(confidence, correct, num_bins=num_bins)
    return {
        "split": split,
        "num_examples": len(labels),
        "num_bins": num_bins,
        "accuracy": float(correct.mean()),
        "confidence": float(confidence.mean()),
        **sure.errors(logits, labels, num_bins),
        "rms_error": sure.root_mean_square_error(bins),
        "mce": sure.largest_error(bins),
        "classwise_ece": sure.classwise_error(probs, labels, num_bins=num_bins),
        "temperature": temperature,
        "at_temperature": sure.errors(logits / temperature, labels, num_bins),
        "bins": [dataclasses.asdict(one) for one in bins],
        "bins_of_equal_mass": [
            dataclasses.asdict(one)
            for one in sure.equal_mass(confidence, correct, num_bins=num_bins)
        ],
    }


def classes(asked: StudyInput, *, split: Split = "test") -> dict[str, Any]:
    """Measure each class for itself, the worst of them, and top-1 and top-5 accuracy."""
    logits, labels = _logits(asked, split)
    num_classes = logits.shape[1]
    found = recalls(logits.argmax(1), labels, num_classes=num_classes)
    known = [one for one in found if one == one]
    best = logits.topk(min(5, num_classes)).indices
    return {
        "split": split,
        "num_examples": len(labels),
        "top_1": float((best[:, 0] == labels).double().mean()),
        "top_5": float((best == labels[:, None]).any(1).double().mean()),
        "worst": min(known),
        "deviation": statistics.stdev(known) if len(known) > 1 else None,
        "classes": [{"name": str(index), "recall": one} for index, one in enumerate(found)],
    }


def other_data(
    asked: StudyInput,
    *,
    seed: int = 0,
    split: Split = "test",
    other: Callable[..., Any] | None = None,
) -> dict[str, Any]:
    """Measure how well the ticket tells its data from noise, from its own images cut up, and from
    the test split of another data set, if given.

    `noise`: drawn from N(0, 1), as inputs are normalised. `patches`: each image with its 4 x 4
    patches in random order; only of sides that are multiples of 4. `other`: a data set, such as
    `{_target_: sparsekit.data.mnist.fashion_mnist}`; see `sparsekit.method.other_images`.
    """
    classes_of(asked.judge)
    stranger = None if other is None else other_images(asked, other)
    own, labels = _logits(asked, split)
    inputs = torch.cat([images_in(batch) for batch, _ in asked.judge.batches(split)])
    generator = torch.Generator().manual_seed(derive(seed, "other data"))
    others = {"noise": torch.randn(inputs.shape, generator=generator)}
    if inputs.ndim == 4 and not any(side % SIDE_OF_PATCHES for side in inputs.shape[2:]):
        others["patches"] = _shuffled(inputs.cpu(), generator)
    if stranger is not None:
        others[stranger.name] = stranger.images
    model = asked.judge.model(asked.state(asked.ticket)).eval()
    scores = {name: answers(model, images, inputs.device) for name, images in others.items()}
    return {
        "split": split,
        "num_examples": len(labels),
        **{
            name: {score: detection(of(own), of(given)) for score, of in SCORES.items()}
            for name, given in scores.items()
        },
        **({} if stranger is None else {"other": stranger.record()}),
    }


def attacks(
    asked: StudyInput,
    *,
    radii: Sequence[float] = (2 / 255, 8 / 255),
    num_steps: int = 20,
    num_examples: int = 1000,
    examples: Literal["spread", "first"] = "spread",
    seed: int = 0,
) -> dict[str, Any]:
    """Measure the accuracy on some test examples when each pixel may change by a radius.

    FGSM, and PGD from a random beginning with steps of a quarter of the radius; an example counts
    as wrong if either makes it so. `zero_gradients` and `at_radius_1` say whether the numbers can
    be trusted: the one should be near 0, the other is near 0 unless gradients lead nowhere.
    `examples`: spread evenly over the split, which may be sorted by class, or its first.
    """
    scale = pixel_scale(asked)
    inputs, labels = _attacked(asked, num_examples, examples)
    model = asked.judge.model(asked.state(asked.ticket)).eval()
    generator = torch.Generator().manual_seed(derive(seed, "attacks"))
    mean, std = (one.to(inputs.device) for one in scale)
    found = []
    for radius in (*radii, 1.0):
        box = attack.Box.of_pixels(radius, mean, std)
        by_sign = _right(model, attack.fgsm(model, inputs, labels, box), labels)
        moved = attack.pgd(model, inputs, labels, box, num_steps=num_steps, generator=generator)
        by_steps = _right(model, moved, labels)
        found.append((radius, by_sign, by_sign & by_steps))
    return {
        "num_examples": len(labels),
        "accuracy": _share(_right(model, inputs, labels)),
        "zero_gradients": attack.zero_gradients(model, inputs, labels),
        "at_radius_1": _share(found[-1][2]),
        "radii": [
            {"name": f"{radius:.4f}", "fgsm": _share(sign), "worst": _share(worst)}
            for radius, sign, worst in found[:-1]
        ],
    }


def faults(
    asked: StudyInput,
    *,
    rates: Sequence[float] = (1e-6, 1e-5, 1e-4),
    repeats: int = 5,
    seed: int = 0,
) -> dict[str, Any]:
    """Measure the ticket when each bit of its stored float32 weights flips with a probability.

    Pruned weights are not stored, and cannot fail. Of any task: the primary metric and the loss on
    test, mean over `repeats` draws; a result that is not a number counts in `num_broken` alone.
    """
    state, masks = asked.state(asked.ticket), load_network(asked.store, asked.ticket)[1]
    weights = dict(asked.judge.parameters(state))
    name = f"test_{asked.judge.primary.name}"
    found = []
    for rate in rates:
        values, counts = [], []
        for repeat in range(repeats):
            drawn = torch.Generator().manual_seed(derive(seed, "faults", repeat, f"{rate:g}"))
            flipped, count = flip_bits(weights, masks, rate=rate, generator=drawn)
            values.append(asked.judge.measure([{**state, **flipped}])[name])
            counts.append(count)
        known = [value for value in values if value == value]
        found.append(
            {
                "name": f"{rate:g}",
                "num_flipped": statistics.fmean(counts),
                "num_broken": len(values) - len(known),
                name: statistics.fmean(known) if known else None,
            }
        )
    return {"repeats": repeats, "rates": found}


def hessian_trace(
    asked: StudyInput,
    *,
    images_per_class: int = 10,
    most: int = 100,
    tolerance: float = 0.05,
    seed: int = 0,
) -> dict[str, Any]:
    """Estimate the trace of the Hessian of the training loss over the kept weights (Hutchinson).

    On a fixed sample of the training split, not augmented; BatchNorm by its running statistics.
    """
    state, masks = asked.state(asked.ticket), load_network(asked.store, asked.ticket)[1]
    weights = {name: state[name] for name in masks}
    sample = Sample(seed, images_per_class, num_batches=1, train_mode=False)
    probe = asked.judge.probe(state)
    found = trace(
        lambda direction: probe.hessian_product(weights, direction, sample),
        masks,
        seed=derive(seed, "hessian"),
        most=most,
        tolerance=tolerance,
    )
    kept = sum(int(mask.sum()) for mask in masks.values())
    return {
        "trace": found.mean,
        "error": found.error,
        "num_probes": len(found.values),
        "num_weights": kept,
        "mean_eigenvalue": found.mean / kept,
    }


def _logits(asked: StudyInput, split: Split) -> tuple[Tensor, Tensor]:
    return logits_of(asked.ticket, split, judge=asked.judge, store=asked.store)


def _attacked(
    asked: StudyInput, num_examples: int, examples: Literal["spread", "first"]
) -> tuple[Tensor, Tensor]:
    if examples == "first":
        return first_examples(asked, num_examples)
    return examples_at(asked, "test", spread_places(len(_logits(asked, "test")[1]), num_examples))


def _shuffled(images: Tensor, generator: torch.Generator) -> Tensor:
    """Return images [N, C, H, W] whose 4 x 4 patches are in another order each."""
    count, channels, height, width = images.shape
    side = SIDE_OF_PATCHES
    patches = images.reshape(count, channels, side, height // side, side, width // side)
    patches = patches.permute(0, 2, 4, 1, 3, 5).reshape(count, side * side, channels, -1)
    order = torch.rand(count, side * side, generator=generator).argsort(1)
    mixed = patches.gather(1, order[:, :, None, None].expand_as(patches))
    mixed = mixed.reshape(count, side, side, channels, height // side, width // side)
    return mixed.permute(0, 3, 1, 4, 2, 5).reshape(images.shape)


@torch.no_grad()
def _right(model: Any, inputs: Tensor, labels: Tensor) -> Tensor:
    right: Tensor = model(inputs).argmax(1) == labels
    return right


def _share(right: Tensor) -> float:
    return float(right.double().mean())
