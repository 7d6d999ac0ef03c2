"""What watches a fit: observers, which are told how far it is."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lightning.pytorch import Trainer
    from torch.optim import Optimizer

    from sparsekit.core.fit_spec import FitSpec
    from sparsekit.core.types import Masks
    from sparsekit.training.masking import Masking
    from sparsekit.training.module import FitModule

Row = Mapping[str, float]


@dataclasses.dataclass(frozen=True)
class RunningFit:
    """A fit under way, as its observers see it.

    `module` knows the network, data, task and schedule; `masking` the masks as they are now; `rows`
    is the history so far, on rank 0; `trainer` is for what several devices do together.
    """

    module: FitModule
    masking: Masking
    rows: Sequence[Row]
    trainer: Trainer

    @property
    def step(self) -> int:
        """Number of steps done, counted from the beginning of the schedule."""
        return self.module.step

    @property
    def last_step(self) -> int:
        """The step after which the fit is over."""
        return self.module.fit_schedule.last

    @property
    def masks(self) -> Masks:
        """The masks as they are now."""
        return self.masking.masks

    @property
    def optimizer(self) -> Optimizer:
        """The optimizer of the fit; it has one."""
        return self.trainer.optimizers[0]

    @property
    def is_rank_zero(self) -> bool:
        """Whether this process writes what all ranks have computed."""
        return self.trainer.is_global_zero

    @property
    def validation(self) -> float | None:
        """The primary metric at the last validation; None before the first."""
        return self.rows[-1][f"val_{self.module.task.primary.name}"] if self.rows else None


Told = Callable[[RunningFit], None]


@dataclasses.dataclass(frozen=True)
class Observer:
    """What is called in the course of a fit, on all ranks; None where there is nothing to do.

    `setup`: in the process that trains, before anything else.
    `start`: before the first step of this process, with the masks in place.
    `step`: after every step of the optimizer, however many pieces its batch has.
    `epoch`: after the last step of an epoch, or of the fit.
    `pause`: where everybody has seen the last step, and its epoch if that is over: the fit may be
    saved and left there.
    `end`: after the last epoch. `failure`: instead of it, with what was raised, which may be that
    the fit was asked to stop.
    """

    setup: Told | None = None
    start: Told | None = None
    step: Told | None = None
    epoch: Told | None = None
    pause: Told | None = None
    end: Told | None = None
    failure: Callable[[RunningFit, BaseException], None] | None = None


ObserverMaker = Callable[[str, "FitSpec", Path], Observer]
"""Makes an observer of one fit, given its key, its spec and its scratch folder.

It is also called in rehearsal, without a key, and must do nothing before the observer is told."""


def made_observer(make: ObserverMaker, key: str, spec: FitSpec, scratch: Path) -> Observer:
    """Return what `make` makes; ValueError for anything but an observer."""
    observer = make(key, spec, scratch)
    if not isinstance(observer, Observer):
        raise ValueError(
            f"logger made a {type(observer).__name__}; expected an Observer, of {__name__}"
        )
    return observer
