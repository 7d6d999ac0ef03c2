"""Where the runs of a sweep are computed: settings only; `sweeps/launch.py` acts on them."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from sparsekit.sweeps.resources import Resources

EARLY_SECONDS = 60


@dataclasses.dataclass(frozen=True)
class Inline:
    """One run after the other, in this process."""


@dataclasses.dataclass(frozen=True)
class Local:
    """Each run in a process of its own, `processes` at a time; where there are GPUs, each process
    sees one of them, and `per_gpu` processes share it."""

    processes: int = 2
    per_gpu: int = 1

    def __post_init__(self) -> None:
        for name in ("processes", "per_gpu"):
            if getattr(self, name) < 1:
                raise ValueError(f"cluster.{name}={getattr(self, name)} is not positive")


@dataclasses.dataclass(frozen=True)
class Slurm:
    """A SLURM cluster, as one uses it.

    `partition`, `account`, `qos`, `constraint` are sbatch's. `array_size` runs make one array, of
    which `parallelism` run at a time (None: as many as SLURM lets). A job is warned
    `signal_seconds` before its time limit. What was lost is submitted again, `rounds` times; it is
    looked for every `patrol_minutes`, and when all has ended.
    `python` starts Python in the job (None: this one); `setup` are shell lines before it, `srun`
    further arguments of srun, `options` of sbatch. `controller` are the options of the small job
    that looks after the others. `snapshot`: run from a copy of the code as it is now.
    """

    partition: str | None = None
    account: str | None = None
    qos: str | None = None
    constraint: str | None = None
    array_size: int = 500
    parallelism: int | None = None
    signal_seconds: int = 120
    rounds: int = 3
    patrol_minutes: int = 15
    python: str | None = None
    setup: Sequence[str] = ()
    srun: Sequence[str] = ()
    options: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    controller: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    snapshot: bool = False

    def __post_init__(self) -> None:
        for name, low in (
            ("array_size", 1),
            ("signal_seconds", 1),
            ("rounds", 0),
            ("patrol_minutes", 1),
        ):
            if getattr(self, name) < low:
                raise ValueError(f"cluster.{name}={getattr(self, name)} is below {low}")
        if self.parallelism is not None and self.parallelism < 1:
            raise ValueError(f"cluster.parallelism={self.parallelism} is below 1")

    def refuse(self, resources: Resources) -> None:
        """Raise ValueError for resources under which a job could not save before its limit."""
        least = self.signal_seconds + EARLY_SECONDS
        if resources.minutes * 60 <= least:
            raise ValueError(
                f"resources.minutes={resources.minutes} is too short: jobs are warned "
                f"cluster.signal_seconds={self.signal_seconds} before the limit, and SLURM may be "
                f"{EARLY_SECONDS} s early; more than {least} s are needed"
            )
