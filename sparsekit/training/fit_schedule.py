"""Which steps a fit runs, at which learning rates, on which batches: functions of the step."""

from __future__ import annotations

import dataclasses
import functools
import itertools
import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch

from sparsekit.core.counts import whole_part
from sparsekit.core.fit_spec import FitSpec
from sparsekit.core.learning_rates import Cut, DenseSchedule, num_warmup
from sparsekit.core.seeds import derive
from sparsekit.data.batches import Inputs, chunk
from sparsekit.data.types import Data
from sparsekit.store.identity import describe
from sparsekit.training.settings import Train, steps_of_epochs


@dataclasses.dataclass(frozen=True)
class FitSchedule:
    """Steps `first` to `last` (exclusive), `steps_per_epoch` of them to an epoch."""

    first: int
    last: int
    steps_per_epoch: int
    seed: int
    learning_rate: Callable[[int], float]

    def epoch(self, step: int) -> int:
        return step // self.steps_per_epoch

    @property
    def num_epochs(self) -> int:
        """Epochs that end with or contain the last step, from the start of training."""
        return math.ceil(self.last / self.steps_per_epoch)

    def step_seed(self, step: int) -> int:
        """Return the seed of whatever a training step draws, such as dropout."""
        return derive("step", self.seed, step)

    def epoch_end(self, step: int) -> int:
        """Return the first step after the epoch that `step` is in, within this schedule."""
        return min((self.epoch(step) + 1) * self.steps_per_epoch, self.last)


def plan_fit(spec: FitSpec, data: Data, cut: Mapping[str, float]) -> FitSchedule:
    """Plan a fit; `cut` says what its start removed, for schedules that depend on it."""
    train: Train = spec.train
    per_epoch = data.num_train // train.batch_size
    if per_epoch == 0:
        raise ValueError(
            f"train.batch_size={train.batch_size} is more than the {data.num_train} "
            f"training examples of {data.name}"
        )
    total = steps_of_epochs(train.epochs, per_epoch)
    asked = train.epochs if spec.epochs is None else spec.epochs
    length = steps_of_epochs(asked * spec.length_factor, per_epoch)
    first, last = spec.first_step, spec.last_step or length
    if spec.phase is not None:
        first, last = (whole_part(length, fraction) for fraction in spec.phase)
    if not 0 <= first < last <= length:
        raise ValueError(
            f"a fit from step {first} to step {last} is not within its {length} steps "
            f"({per_epoch} to an epoch); is method.rewind_step too late, or are there too many "
            "cycles in method.span?"
        )
    seed = derive(spec.seed, "cycle", spec.cycle, "particle", spec.particle)
    rate = _learning_rate(spec, total=total, length=length, cut=cut)
    return FitSchedule(first, last, per_epoch, seed, rate)


def _learning_rate(
    spec: FitSpec, *, total: int, length: int, cut: Mapping[str, float]
) -> Callable[[int], float]:
    schedule, retrain = spec.train.schedule, spec.retrain_schedule
    if retrain is None:
        return functools.partial(_scheduled, steps=length, schedule=schedule)
    rates = tuple(schedule(step, total) for step in range(total))
    warmup = num_warmup(total, describe(schedule).get("warmup", 0.0))
    dense = DenseSchedule(rates, warmup)
    removed = Cut(norm_drop=cut["norm_drop"], fraction=cut["fraction"])
    return functools.partial(_retrained, steps=length, retrain=retrain, dense=dense, cut=removed)


# At the top of the module, and not nested, because schedules travel to the processes of DDP.
def _scheduled(step: int, *, steps: int, schedule: Callable[[int, int], float]) -> float:
    return schedule(step, steps)


def _retrained(
    step: int, *, steps: int, retrain: Callable[..., float], dense: DenseSchedule, cut: Cut
) -> float:
    return retrain(step, steps, dense, cut)


class Batches:
    """The training batches from a step to the end of its epoch, in `accumulate` pieces each."""

    def __init__(
        self,
        data: Data,
        fit_schedule: FitSchedule,
        train: Train,
        *,
        step: int,
        rank: int,
        world_size: int,
        device: torch.device,
    ) -> None:
        self.num_steps = fit_schedule.epoch_end(step) - step
        self.pieces = train.accumulate
        epoch = fit_schedule.epoch(step)
        self._open: Callable[[], Iterator[tuple[Inputs, Any]]] = lambda: data.train_batches(
            batch_size=train.batch_size,
            seed=fit_schedule.seed,
            epoch=epoch,
            first=step - epoch * fit_schedule.steps_per_epoch,
            rank=rank,
            world_size=world_size,
            device=device,
        )

    def __len__(self) -> int:
        return self.num_steps * self.pieces

    def __iter__(self) -> Iterator[tuple[Inputs, Any]]:
        for inputs, targets in itertools.islice(self._open(), self.num_steps):
            pieces = chunk(inputs, self.pieces), chunk(targets, self.pieces)
            yield from zip(*pieces, strict=True)
