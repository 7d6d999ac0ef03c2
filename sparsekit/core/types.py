"""The words of the core: dictionaries keyed by parameter name, and the shapes of its functions."""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any, Literal, Protocol

from torch import Tensor

Weights = dict[str, Tensor]
"""Parameters that may be pruned, keyed by parameter name, in the order of the network."""

Masks = dict[str, Tensor]
"""Bool tensors of the shapes of the weights; True = the weight is kept."""

Scores = dict[str, Tensor]
"""Floating tensors of the shapes of the weights; higher = keep, -inf = already pruned."""

Counts = dict[str, int]
"""Number of weights each layer keeps."""

State = dict[str, Tensor]
"""A whole state dict: weights, biases, normalisation parameters and buffers."""


@dataclasses.dataclass(frozen=True)
class Sample:
    """Training images that a loss is measured on, and how the network looks at them.

    `images_per_class` of every class, drawn by `seed`, dealt out evenly to `num_batches` batches.
    `train_mode`: BatchNorm normalises by the batch, else by its running statistics. Dropout is off
    in either, so that scores hold no noise. ValueError for numbers that cannot be dealt out.
    """

    seed: int
    images_per_class: int
    num_batches: int
    train_mode: bool

    def __post_init__(self) -> None:
        if self.images_per_class < 1:
            raise ValueError(f"images_per_class={self.images_per_class} is below 1")
        if self.num_batches < 1 or self.images_per_class % self.num_batches:
            raise ValueError(
                f"num_batches={self.num_batches} does not divide "
                f"images_per_class={self.images_per_class}"
            )


class Probe(Protocol):
    """What a data-driven score may ask of the task. Nothing it asks changes the state probed."""

    def gradients(
        self, weights: Weights, sample: Sample | None = None, *, temperature: float = 1.0
    ) -> Weights:
        """Return the gradient of the mean loss with respect to each of the weights.

        On one evaluation batch of training images, or on `sample`. Logits are divided by
        `temperature`.
        """
        ...

    def hessian_product(
        self, weights: Weights, direction: Weights, sample: Sample, *, temperature: float = 1.0
    ) -> Weights:
        """Return the Hessian of the same mean loss, over all the weights, times `direction`."""
        ...

    def flow(self, weights: Weights) -> Weights:
        """Return dR/d|w| in float64, R the summed output for an input of ones.

        The network is in evaluation mode with |.| taken of every parameter and buffer.
        """
        ...

    def inputs(self) -> Any:
        """Return inputs of one evaluation batch of training examples, as the network gets them."""
        ...

    def stored_masks(self, ticket: str) -> Masks:
        """Return the masks of a stored stage, by its key. ValueError if it is not in the store."""
        ...


class Mover(Protocol):
    """When masks move during training, and where to.

    `timing`: at an update the optimizer has stepped and the masks move "after" it, or they move
    "instead" of its step. `num_gradients`: over how many optimizer steps, up to and including the
    one of the update, the dense gradients it is given are averaged; 0: it is given none.
    """

    @property
    def timing(self) -> Literal["after", "instead"]: ...

    @property
    def num_gradients(self) -> int: ...

    def acts(self, step: int, num_steps: int) -> bool:
        """Say whether the masks move at `step` of `num_steps`."""
        ...

    def move(
        self, step: int, weights: Weights, grads: Weights, masks: Masks, num_steps: int
    ) -> Masks | None:
        """Return new masks, None to leave them. Asked only where it `acts`.

        `grads` lacks the layers that no gradient reached: frozen, or not run in these steps.
        """
        ...

    def rehearse(self, weights: Weights, masks: Masks, num_steps: int) -> None:
        """Raise ValueError for layers it cannot work on, before anything is trained."""
        ...


class View(Protocol):
    """What the forward pass sees instead of the weights that the optimizer keeps.

    Everything is a function of its arguments, so that a fit that was killed goes on to the same
    bits and ranks agree. `masks` are those the fit started from; what they prune is 0 and stays so.
    `sparsity`: what it ends at, over the weights that have a mask; None: it prunes nothing itself.
    """

    @property
    def sparsity(self) -> float | None: ...

    def view(self, weights: Weights, masks: Masks, step: int) -> Weights:
        """Return what is seen, by the names of the weights; gradients reach those through it."""
        ...

    def pull(self, weights: Weights, seen: Weights, step: int) -> Weights:
        """Return what is added to the gradients of the weights, given what was seen; {}: nothing.

        After backward pass and unscaling, before clipping. Where the optimizer decouples weight
        decay, learning rate * pull is subtracted from the weights instead.
        """
        ...

    def project(self, weights: Weights, masks: Masks) -> tuple[Weights, Masks]:
        """Return what a fit that ends here publishes: weights that are 0 where the masks say so."""
        ...

    def rehearse(self, weights: Weights, masks: Masks) -> None:
        """Raise ValueError for layers it cannot work on, before anything is trained."""
        ...


class Penalty(Protocol):
    """What else than the loss moves the weights of a fit: between backward pass and step, or after.

    It is shown all parameters, an output in every row. Everything is a function of its arguments,
    `targets` among them, which are decided once. `step` counts finished optimizer steps and `rate`
    is the learning rate of the schedule.
    """

    def targets(self, weights: Weights, masks: Masks) -> Masks:
        """Return which entries of which parameters it acts on, from what the fit starts with.

        ValueError if there are none.
        """
        ...

    def gradients(
        self, weights: Weights, targets: Masks, *, step: int, num_steps: int, rate: float
    ) -> Weights:
        """Return what is added to the gradients, after unscaling, before clipping; {}: nothing."""
        ...

    def shrink(
        self, weights: Weights, targets: Masks, *, step: int, num_steps: int, rate: float
    ) -> Weights:
        """Return what takes the place of weights after the optimizer's step; {}: they stay."""
        ...


@dataclasses.dataclass(frozen=True)
class MergeContext:
    """Where the states to be merged come from.

    `base`: the weights all of them started from, None if they did not start from the same.
    `counts`: how many snapshots along its training are averaged in each; 1 where none were.
    """

    base: State | None
    counts: tuple[int, ...]


Score = Callable[[Weights, Masks, Probe | None], Scores]
Allocate = Callable[[Scores, int], Counts]
Pattern = Callable[[Tensor, int], Tensor]
Merge = Callable[[Sequence[State], Callable[[State], float], MergeContext | None], State]
Control = Callable[[Masks, int], Masks]
"""(masks, seed) -> masks of as many weights, to see whether it matters which these are."""
