"""What the loop may ask of the problem."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Literal, Protocol

from torch import Tensor

from sparsekit.core.fit_spec import Problem
from sparsekit.core.layout import Transposed
from sparsekit.core.types import Masks, Probe, State, Weights
from sparsekit.networks.network import Network
from sparsekit.tasks.metric import Metric

SplitName = Literal["train", "val", "test"]


class Judge(Protocol):
    """Judges states of one network on one problem; choices see the validation split alone.

    Before it is put `on` a network it only knows which problem it judges.
    """

    @property
    def identity(self) -> Problem:
        """The problem that is judged."""
        ...

    @property
    def primary(self) -> Metric:
        """The metric by which states are chosen and compared."""
        ...

    @property
    def has_ensemble(self) -> bool:
        """Whether the task defines the mean prediction of several networks."""
        ...

    def on(self, network: Network) -> Judge:
        """Return the judge of states of `network`."""
        ...

    def beside(self, data: Any) -> Judge:
        """Return the judge of the same network, with another data set in the place of its own."""
        ...

    def data_identity(self) -> tuple[str, str]:
        """Return name and fingerprint of the data set."""
        ...

    def parameters(self, state: State) -> Weights:
        """Return the trained part of `state`: without running statistics and other buffers."""
        ...

    def transposed(self) -> Transposed:
        """Return which weights of the network are stored inputs first."""
        ...

    def probe(self, state: State) -> Probe:
        """Return what a data-driven score may ask about `state`."""
        ...

    def recalibrate(self, state: State) -> State:
        """Return `state` with the statistics of its normalisation layers estimated anew."""
        ...

    def flops_spent(self) -> float:
        """Return the operations so far of what its probes and `recalibrate` were asked, on any
        network; a part of what a procedure costs, unlike judging."""
        ...

    def validate(self, state: State) -> float:
        """Return the primary metric on the validation split."""
        ...

    def measure(
        self, states: Sequence[State], splits: Sequence[SplitName] = ("val", "test")
    ) -> dict[str, float]:
        """Return `SPLIT_NAME`, for splits and every metric, of the states' mean prediction.

        Of one state: its own. Of several: of their ensemble, as the task defines it.
        """
        ...

    def model(self, state: State) -> Any:
        """Return the network with the weights `state`, on the device, to be looked into."""
        ...

    def batches(self, split: SplitName) -> Iterator[tuple[Any, Any]]:
        """Return the batches of a split, not augmented."""
        ...

    def outputs(self, state: State, split: SplitName) -> Iterator[tuple[Any, Any]]:
        """Yield outputs and targets of the batches of a split, without gradients."""
        ...

    def pixel_scale(self) -> tuple[Tensor, Tensor] | None:
        """Return mean and std [C] by which pixels from 0 to 1 were normalised; None if unknown."""
        ...

    def report(self, state: State, masks: Masks) -> dict[str, Any]:
        """Return everything a table may show of a finished ticket."""
        ...
