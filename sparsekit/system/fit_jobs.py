"""The executor whose fits are jobs of their own: `executor=jobs`, on a cluster only."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

Submit = Callable[[Callable[[Any], str], Sequence[Any]], list[str]]


class Parked(BaseException):
    """The fits of a run were submitted as jobs; the run goes on when they have ended.

    Not an error, and so not an Exception: code that catches errors must not catch it.
    """


@dataclasses.dataclass(frozen=True)
class FitJobs:
    """Every fit of a cycle is a job of its own; a single one is computed by the run's own job.

    Lost fits are submitted again, `rounds` times. `submit` is given by the job that runs the run.
    """

    rounds: int = 3
    submit: Submit | None = None

    def __post_init__(self) -> None:
        if self.rounds < 0:
            raise ValueError(f"executor.rounds={self.rounds} is below 0")

    def __call__(self, function: Callable[[Any], str], items: Sequence[Any]) -> list[str]:
        if not items:
            return []
        if self.submit is None:
            raise ValueError("executor=jobs needs cluster=slurm; here are inline and workers")
        return self.submit(function, items)
