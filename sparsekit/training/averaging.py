"""The mean of the weights along the last part of a fit."""

from __future__ import annotations

from typing import Any

from sparsekit.core.averaging import running_mean
from sparsekit.core.types import State
from sparsekit.training.evaluate import augmented_epoch, recalibrate_
from sparsekit.training.module import FitModule
from sparsekit.training.observing import Observer, RunningFit


class TrajectoryAverage:
    """Running mean, in float64, of the parameters at the end of every epoch past `after` steps.

    Stochastic weight averaging (Izmailov et al. 2018) as SWAMP uses it inside each particle
    (arXiv 2305.14852). Parameters only: statistics of normalisation layers are estimated anew for
    the mean, by `install_`, on one augmented epoch.
    """

    def __init__(self, after: float) -> None:
        self.after = after
        self.mean: State = {}
        self.count = 0

    @property
    def observer(self) -> Observer:
        """What the fit calls."""
        return Observer(epoch=self.add)

    def state_dict(self) -> dict[str, Any]:
        return {"mean": self.mean, "count": self.count}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.mean = dict(state_dict["mean"])
        self.count = state_dict["count"]

    def add(self, fit: RunningFit) -> None:
        """Take the parameters as they are now into the mean, if it is time to."""
        if fit.step > self.after:
            # On the CPU, where a mean read from a checkpoint is as well.
            now = {n: p.detach().cpu().clone() for n, p in fit.module.model.named_parameters()}
            self.mean = running_mean(self.mean, self.count, now) if self.count else now
            self.count += 1

    def install_(self, module: FitModule) -> None:
        """Replace the weights of `module` by the mean, and fit its statistics to it."""
        parameters = dict(module.model.named_parameters())
        for name, value in self.mean.items():
            parameters[name].data.copy_(value)
        with module.projected():
            recalibrate_(module.model, augmented_epoch(module.data, module.device))
