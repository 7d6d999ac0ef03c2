"""Examples of a split that a study changes before it asks the network: images, and of them some."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from sparsekit.method.outputs import Split, classes_of
from sparsekit.method.studies import CannotStudy, StudyInput

BATCH = 1000


def images_in(inputs: Any) -> Tensor:
    """Return inputs that are one tensor of numbers; CannotStudy for others."""
    if not isinstance(inputs, Tensor) or not inputs.is_floating_point():
        raise CannotStudy("needs inputs of one tensor of numbers, such as images")
    return inputs


def pixel_scale(asked: StudyInput) -> tuple[Tensor, Tensor]:
    """Return mean and std [C] by which pixels were normalised; CannotStudy where none are known."""
    scale = asked.judge.pixel_scale()
    if scale is None:
        raise CannotStudy("needs images whose pixels were normalised by known mean and std")
    return scale


def first_examples(asked: StudyInput, num_examples: int) -> tuple[Tensor, Tensor]:
    """Return the first examples of the test split, and their classes."""
    classes, images, targets = classes_of(asked.judge), [], []
    for inputs, labels in asked.judge.batches("test"):
        images.append(images_in(inputs))
        targets.append(classes(labels))
        if sum(map(len, images)) >= num_examples:
            break
    return torch.cat(images)[:num_examples], torch.cat(targets)[:num_examples]


def spread_places(num_all: int, num_examples: int) -> list[int]:
    """Return the places of so many of all examples, evenly spread: a split may be sorted by class.

    >>> spread_places(10, 4)
    [0, 2, 5, 7]
    """
    num = min(num_all, num_examples)
    return [index * num_all // num for index in range(num)]


def examples_at(asked: StudyInput, split: Split, places: Sequence[int]) -> tuple[Tensor, Tensor]:
    """Return the examples at ascending places of a split, and their classes."""
    classes, images, targets = classes_of(asked.judge), [], []
    wanted, first = torch.tensor(places), 0
    for inputs, labels in asked.judge.batches(split):
        here = wanted[(wanted >= first) & (wanted < first + len(inputs))] - first
        images.append(images_in(inputs)[here.to(inputs.device)])
        targets.append(classes(labels)[here.to(inputs.device)])
        first += len(inputs)
    return torch.cat(images), torch.cat(targets)


@torch.no_grad()
def answers(model: Any, inputs: Tensor, device: torch.device) -> Tensor:
    """Return outputs float32 for many inputs, on the CPU, asked in batches."""
    batches = torch.split(inputs, BATCH)
    return torch.cat([model(batch.to(device)).float().cpu() for batch in batches])
