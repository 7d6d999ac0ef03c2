"""What is trained, and what one fit of it is asked: values that travel between all rooms."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

from sparsekit.core.distillation import Distillation
from sparsekit.core.types import Mover, Penalty, View


@dataclasses.dataclass(frozen=True)
class Problem:
    """Which model learns which task on which data, and which of its weights may be pruned.

    Each is a bound function: `task()` says what outputs mean, `data(root)` gives the data set,
    `model(input_shape, num_outputs)` a network, `prunable(model, example)` names of parameters.
    """

    task: Callable[[], Any]
    model: Callable[..., Any]
    data: Callable[..., Any]
    prunable: Callable[..., Any]


@dataclasses.dataclass(frozen=True)
class FitSpec:
    """Everything that decides what a fit computes; its description is the fit's address.

    `pruned` is the key of the weights and masks it starts from. It runs the steps `first_step` to
    `last_step` (None: the end) of `train`'s schedule, or the fractions `phase` of it, or
    `retrain_schedule` over `epochs`, `length_factor` as long. Its randomness is a function of
    (seed, cycle, particle) and the step. It learns from the teacher of `distillation` too, by then
    the key of a stored network. `callbacks` make Lightning callbacks of the user's own.

    What is None is not part of the address, so a new optional field leaves every address as it is.
    """

    problem: Problem
    train: Any
    seed: int
    cycle: int = 0
    particle: int = 0
    pruned: str = ""
    first_step: int = 0
    last_step: int | None = None
    phase: tuple[float, float] | None = None
    epochs: float | None = None
    length_factor: float = 1.0
    retrain_schedule: Callable[..., float] | None = None
    mover: Mover | None = None
    view: View | None = None
    penalty: Penalty | None = None
    average_from: float | None = None
    distillation: Distillation | None = None
    callbacks: Mapping[str, Callable[[], Any]] | None = None

    def taught_by(self, dense: str | None) -> FitSpec:
        """Return it with the teacher's key in the place of "dense"; see `Distillation`."""
        if self.distillation is None:
            return self
        return dataclasses.replace(self, distillation=self.distillation.taught_by(dense))
