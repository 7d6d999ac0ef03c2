"""What the loop may ask of the task."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from sparsekit.core.types import Masks, Probe, State, Weights


class Judge(Protocol):
    """Judges states of one task; choices see the validation split, never the test."""

    @property
    def identity(self) -> Mapping[str, Any]:
        """Plain data that says which task is judged."""
        ...

    def parameters(self, state: State) -> Weights:
        """The trained part of `state`: without running statistics and other buffers."""
        ...

    def probe(self, state: State) -> Probe:
        """What a data-driven score may ask about `state`."""
        ...

    def recalibrate(self, state: State) -> State:
        """`state` with the statistics of its normalisation layers estimated anew."""
        ...

    def score(self, state: State) -> float:
        """Validation accuracy, for choices."""
        ...

    def measure(self, states: Sequence[State]) -> dict[str, float]:
        """`val_accuracy`, `val_loss`, `test_accuracy`, `test_loss` of the states' mean prediction.

        Of one state: its own. Of several: of their ensemble, the mean of their probabilities.
        """
        ...

    def report(self, state: State, masks: Masks) -> dict[str, Any]:
        """Everything a table may show of a finished ticket."""
        ...
