"""How a model is trained (part of every result's identity), and where (never part of it)."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

PRECISIONS = ("32-true", "bf16-mixed", "16-mixed")
PROGRESS = ("auto", "bar", "lines", "none")


@dataclasses.dataclass(frozen=True)
class Train:
    """Training of one model for `epochs` passes over the training split.

    `optimizer` is called with named parameters, `schedule` with (step, number of steps) and gives
    the absolute learning rate. `batch_size` is what one optimizer step sees, whatever the number
    of devices; it is processed in `accumulate` pieces. `clip_norm` bounds the norm of the masked
    gradients. Validation happens every `evaluate_every` epochs and at the end.
    `trainable`: patterns of names of the parameters that are trained, or "head": those that the
    number of outputs decides. All others are frozen, and so are the statistics of their
    normalisation; None: all are trained.
    """

    epochs: float
    batch_size: int
    optimizer: Callable[..., Any]
    schedule: Callable[[int, int], float]
    clip_norm: float | None = None
    precision: str = "32-true"
    accumulate: int = 1
    channels_last: bool = False
    evaluate_every: int = 1
    trainable: str | Sequence[str] | None = None

    def __post_init__(self) -> None:
        _at_least(0, epochs=self.epochs)
        _at_least(1, batch_size=self.batch_size, accumulate=self.accumulate)
        _at_least(1, evaluate_every=self.evaluate_every)
        _one_of("train.precision", self.precision, PRECISIONS)
        if self.epochs == 0:
            raise ValueError("train.epochs=0 trains nothing; give at least a part of an epoch")
        if self.clip_norm is not None and not self.clip_norm > 0:
            raise ValueError(f"train.clip_norm={self.clip_norm} is not positive; null turns it off")
        if isinstance(self.trainable, str) and self.trainable != "head":
            raise ValueError(
                f"train.trainable={self.trainable!r} is neither 'head' nor a list of patterns"
            )
        if self.batch_size % self.accumulate:
            raise ValueError(
                f"train.batch_size={self.batch_size} is not a multiple of "
                f"train.accumulate={self.accumulate}"
            )


@dataclasses.dataclass(frozen=True)
class Runtime:
    """Where and how things run; changing any of it gives the same results under the same keys.

    `store` holds results, `data` the data sets. `devices` > 1 trains each fit on several devices
    (DDP): the same batches, BatchNorm over the whole batch, results equal up to rounding; only what
    a model draws per example (dropout) is drawn alike on all of them. `find_unused_parameters` lets
    some parameters take no part in some steps there; false saves a walk through the graph per step,
    and is needed by reentrant activation checkpointing.
    `threads` bounds the CPU threads; 0 leaves PyTorch's default. A fit saves its state every
    `checkpoint_seconds`; a claim without heartbeat for `stale_seconds` is taken over.
    """

    store: str = "runs"
    data: str = "data"
    accelerator: str = "auto"
    devices: int = 1
    find_unused_parameters: bool = True
    threads: int = 0
    compile: bool = False
    deterministic: bool = True
    checkpoint_seconds: float = 60.0
    stale_seconds: float = 60.0
    progress: str = "auto"
    progress_seconds: float = 15.0

    def __post_init__(self) -> None:
        _place("runtime.store", self.store)
        _place("runtime.data", self.data)
        _one_of("runtime.progress", self.progress, PROGRESS)
        _one_of("runtime.accelerator", self.accelerator, ("auto", "cpu", "gpu", "cuda", "mps"))
        if self.devices < 1 or self.threads < 0:
            raise ValueError(f"runtime: devices={self.devices}, threads={self.threads} is too few")

    def placed(self) -> Runtime:
        """Return the same with folders that stay where they are when the current one changes."""
        store, data = (str(Path(one).expanduser().absolute()) for one in (self.store, self.data))
        return dataclasses.replace(self, store=store, data=data)

    def limit_threads_(self) -> None:
        """Bound the CPU threads of this process."""
        if self.threads:
            import torch  # here, because settings are checked without it

            torch.set_num_threads(self.threads)

    def strategy(self, num_nodes: int) -> str:
        """Return Lightning's name for how the devices of `num_nodes` train together."""
        if self.devices * num_nodes == 1:
            return "auto"
        return f"ddp_spawn_find_unused_parameters_{str(self.find_unused_parameters).lower()}"

    @property
    def data_root(self) -> Path:
        return Path(self.data).expanduser()


def steps_of_epochs(epochs: float, steps_per_epoch: int) -> int:
    """Return the optimizer steps in a possibly fractional number of epochs; at least one.

    `epochs` is read as the decimal number that was written: 0.285 of 100 steps are 28.5, and not a
    little less, so they are rounded up.

    >>> steps_of_epochs(1.5, 390), steps_of_epochs(0.001, 390), steps_of_epochs(0.285, 100)
    (585, 1, 29)
    """
    exact = Fraction(str(float(epochs))).limit_denominator(10**9)
    return max(1, math.floor(exact * steps_per_epoch + Fraction(1, 2)))


def _at_least(low: int, **values: float) -> None:
    for name, value in values.items():
        if value < low:
            raise ValueError(f"train.{name}={value} is below {low}")


def _place(name: str, value: str) -> None:
    """Raise ValueError for a folder that is not named, or lies in a home that nobody knows."""
    if not value:
        raise ValueError(f"{name} is empty; give a folder, and unset a variable that is empty")
    try:
        Path(value).expanduser()
    except RuntimeError as error:
        raise ValueError(f"{name}={value}: {error}") from error


def _one_of(name: str, value: str, valid: tuple[str, ...]) -> None:
    if value not in valid:
        raise ValueError(f"{name}={value!r} is not one of {', '.join(valid)}")
