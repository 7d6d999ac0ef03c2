"""Accuracy under common corruptions."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean
from typing import Any

import torch
from torch import Tensor

from sparsekit.evaluation.corruptions import CORRUPTIONS, LEFT_OUT, SEVERITIES, corrupted
from sparsekit.method.examples import BATCH, answers, examples_at, pixel_scale, spread_places
from sparsekit.method.outputs import Split, classes_of, logits_of
from sparsekit.method.studies import CannotStudy, StudyInput

LARGEST = 64


def corruptions(
    asked: StudyInput,
    *,
    names: Sequence[str] = tuple(CORRUPTIONS),
    num_examples: int = 1000,
    split: Split = "test",
    seed: int = 0,
) -> dict[str, Any]:
    """Measure the accuracy under corruptions like those of CIFAR-10-C, at severities 1 to 5.

    On examples evenly spread over the split; `accuracy` is that without corruption on the same.
    The same examples are corrupted in the same way for every network. See
    `sparsekit.evaluation.corruptions`. ValueError for an unknown corruption.
    """
    unknown = [name for name in names if name not in CORRUPTIONS]
    if unknown or not names:
        raise ValueError(f"names={list(names)}: give some of {', '.join(CORRUPTIONS)}")
    classes_of(asked.judge)
    scale = pixel_scale(asked)
    logits, _ = logits_of(asked.ticket, split, judge=asked.judge, store=asked.store)
    places = spread_places(len(logits), num_examples)
    inputs, labels = examples_at(asked, split, places)
    if inputs.ndim != 4 or inputs.shape[1] not in (1, 3) or max(inputs.shape[2:]) > LARGEST:
        raise CannotStudy(
            f"needs grey or colour images of at most {LARGEST}x{LARGEST} pixels, not "
            f"{list(inputs.shape[1:])}"
        )
    images = _levels(inputs, scale)
    model = asked.judge.model(asked.state(asked.ticket)).eval()

    def accuracy(name: str, severity: int) -> float:
        logits = []
        for first in range(0, len(places), BATCH):
            here = slice(first, first + BATCH)
            changed = corrupted(images[here], name, severity, seed=seed, places=places[here])
            given = _inputs(torch.from_numpy(changed), scale)
            logits.append(answers(model, given, inputs.device))
        return _share(torch.cat(logits), labels)

    found = {name: [accuracy(name, severity) for severity in SEVERITIES] for name in names}
    return {
        "split": split,
        "num_examples": len(labels),
        "accuracy": _share(answers(model, inputs, inputs.device), labels),
        "mean": fmean(fmean(values) for values in found.values()),
        "severities": _by_severity([fmean(values) for values in zip(*found.values(), strict=True)]),
        "corruptions": [
            {"name": name, "mean": fmean(values), "severities": _by_severity(values)}
            for name, values in found.items()
        ],
        "left_out": [*LEFT_OUT, *(name for name in CORRUPTIONS if name not in names)],
    }


def _by_severity(values: Sequence[float]) -> dict[str, float]:
    return {str(severity): value for severity, value in zip(SEVERITIES, values, strict=True)}


def _levels(inputs: Tensor, scale: tuple[Tensor, Tensor]) -> Any:
    """Return normalised images as uint8 [N, H, W, C], a NumPy array."""
    mean, std = (one.view(-1, 1, 1) for one in scale)
    pixels = (inputs.cpu() * std + mean) * 255
    return pixels.round().clamp(0, 255).to(torch.uint8).permute(0, 2, 3, 1).contiguous().numpy()


def _inputs(levels: Tensor, scale: tuple[Tensor, Tensor]) -> Tensor:
    mean, std = (one.view(-1, 1, 1) for one in scale)
    return (levels.permute(0, 3, 1, 2).float() / 255 - mean) / std


def _share(logits: Tensor, labels: Tensor) -> float:
    return float((logits.argmax(1) == labels.cpu()).double().mean())
