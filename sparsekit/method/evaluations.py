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
from sparsekit.method.studies import CannotStudy, StudyInput
from sparsekit.store.tensors import load_network

Split = Literal["train", "val", "test"]
SIDE_OF_PATCHES, BATCH = 4, 1000


def calibration(
    asked: StudyInput, *, num_bins: int = sure.BINS, split: Split = "test"
) -> dict[str, Any]:
    """Measure whether the ticket is as often right as it is sure; before and after a temperature.

    Definitions: `sparsekit.evaluation.calibration`. `bins` are those of a reliability diagram.
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
        **_errors(logits, labels, num_bins),
        "rms_error": sure.root_mean_square_error(bins),
        "mce": sure.largest_error(bins),
        "classwise_ece": sure.classwise_error(probs, labels, num_bins=num_bins),
        "temperature": temperature,
        "at_temperature": _errors(logits / temperature, labels, num_bins),
        "bins": [dataclasses.asdict(one) for one in bins],
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


def other_data(asked: StudyInput, *, seed: int = 0, split: Split = "test") -> dict[str, Any]:
    """Measure how well the ticket tells its data from noise, and from its own images cut up.

    `noise`: drawn from N(0, 1), as inputs are normalised. `patches`: each image with its 4 x 4
    patches in random order; only of sides that are multiples of 4.
    """
    own, labels = _logits(asked, split)
    inputs = torch.cat([_images(batch) for batch, _ in asked.judge.batches(split)])
    generator = torch.Generator().manual_seed(derive(seed, "other data"))
    others = {"noise": torch.randn(inputs.shape, generator=generator)}
    if inputs.ndim == 4 and not any(side % SIDE_OF_PATCHES for side in inputs.shape[2:]):
        others["patches"] = _shuffled(inputs.cpu(), generator)
    model = asked.judge.model(asked.state(asked.ticket)).eval()
    answers = {
        name: _answers(model, torch.split(images, BATCH), inputs.device)
        for name, images in others.items()
    }
    return {
        "split": split,
        "num_examples": len(labels),
        **{
            name: {score: detection(of(own), of(answers[name])) for score, of in SCORES.items()}
            for name in others
        },
    }


def attacks(
    asked: StudyInput,
    *,
    radii: Sequence[float] = (2 / 255, 8 / 255),
    num_steps: int = 20,
    num_examples: int = 1000,
    seed: int = 0,
) -> dict[str, Any]:
    """Measure the accuracy on the first test examples when each pixel may change by a radius.

    FGSM, and PGD from a random beginning with steps of a quarter of the radius; an example counts
    as wrong if either makes it so. `zero_gradients` and `at_radius_1` say whether the numbers can
    be trusted: the one should be near 0, the other is near 0 unless gradients lead nowhere.
    """
    scale = asked.judge.pixel_scale()
    if scale is None:
        raise CannotStudy("needs images whose pixels were normalised by known mean and std")
    model = asked.judge.model(asked.state(asked.ticket)).eval()
    inputs, labels = _first_examples(asked, num_examples)
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


def _errors(logits: Tensor, labels: Tensor, num_bins: int) -> dict[str, float]:
    probs = sure.probabilities(logits)
    confidence, correct = sure.top(probs, labels)
    return {
        "ece": sure.expected_error(sure.equal_width(confidence, correct, num_bins=num_bins)),
        "adaptive_ece": sure.expected_error(
            sure.equal_mass(confidence, correct, num_bins=num_bins)
        ),
        "brier": sure.brier(probs, labels),
        "nll": sure.negative_log_likelihood(logits, labels),
    }


def _logits(asked: StudyInput, split: Split) -> tuple[Tensor, Tensor]:
    """Return logits [N, C] and classes [N] of a split, on the CPU; CannotStudy without any."""
    classes_of = _classes_of(asked)
    pairs = list(asked.judge.outputs(asked.state(asked.ticket), split))
    logits = torch.cat([outputs.float().cpu() for outputs, _ in pairs])
    if logits.ndim != 2:
        raise CannotStudy(f"needs logits [B, C], not {list(logits.shape)}")
    if not bool(logits.isfinite().all()):
        raise CannotStudy("the network's outputs are not all finite")
    return logits, torch.cat([classes_of(targets).cpu() for _, targets in pairs])


def _classes_of(asked: StudyInput) -> Callable[[Any], Tensor]:
    """Return what tells the classes of targets; CannotStudy without logits of them."""
    task = asked.judge.identity.task()
    if task.classes is None or task.soften is None:
        raise CannotStudy("needs a classification: one class per example, and logits for it")
    found: Callable[[Any], Tensor] = task.classes
    return found


def _images(inputs: Any) -> Tensor:
    if not isinstance(inputs, Tensor) or not inputs.is_floating_point():
        raise CannotStudy("needs inputs of one tensor of numbers, such as images")
    return inputs


def _first_examples(asked: StudyInput, num_examples: int) -> tuple[Tensor, Tensor]:
    classes_of, images, targets = _classes_of(asked), [], []
    for inputs, labels in asked.judge.batches("test"):
        images.append(_images(inputs))
        targets.append(classes_of(labels))
        if sum(map(len, images)) >= num_examples:
            break
    return torch.cat(images)[:num_examples], torch.cat(targets)[:num_examples]


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
def _answers(model: Any, batches: Sequence[Tensor], device: torch.device) -> Tensor:
    return torch.cat([model(batch.to(device)).float().cpu() for batch in batches])


@torch.no_grad()
def _right(model: Any, inputs: Tensor, labels: Tensor) -> Tensor:
    right: Tensor = model(inputs).argmax(1) == labels
    return right


def _share(right: Tensor) -> float:
    return float(right.double().mean())
