"""The words of the core: dictionaries keyed by parameter name, and the shapes of its functions."""

from collections.abc import Callable, Sequence
from typing import Protocol

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


class Probe(Protocol):
    """What a data-driven score may ask of the task."""

    def gradients(self, weights: Weights) -> Weights:
        """Return the gradient of the loss with respect to each of the weights."""
        ...


Score = Callable[[Weights, Masks, Probe | None], Scores]
Allocate = Callable[[Scores, int], Counts]
Pattern = Callable[[Tensor, int], Tensor]
Mover = Callable[[int, Weights, Weights, Masks], Masks | None]
Merge = Callable[[Sequence[State], Callable[[State], float]], State]
