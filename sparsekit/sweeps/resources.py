"""What one job of a sweep is given."""

from __future__ import annotations

import dataclasses


@dataclasses.dataclass(frozen=True)
class Resources:
    """Of each node: GPUs, CPU cores, memory in GB; and the time limit of a job in minutes.

    A run may need many times `minutes`: its job saves before the limit and goes on in the next.
    Every fit is trained on all `nodes` of its job together, on `runtime.devices` of each.
    """

    gpus: int = 0
    cpus: int = 1
    memory_gb: float = 4.0
    minutes: int = 60
    nodes: int = 1

    def __post_init__(self) -> None:
        for name, low in (("gpus", 0), ("cpus", 1), ("minutes", 1), ("nodes", 1)):
            if getattr(self, name) < low:
                raise ValueError(f"resources.{name}={getattr(self, name)} is below {low}")
        if not self.memory_gb > 0:
            raise ValueError(f"resources.memory_gb={self.memory_gb} is not positive")
