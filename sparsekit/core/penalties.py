"""Penalties: what pulls weights towards 0 while they are trained, beside the loss.

A row is an output of a layer: a neuron, or a filter with all its input channels and positions.
"""

import math
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from sparsekit.core import selection
from sparsekit.core.types import Masks, Weights


@dataclass(frozen=True, kw_only=True)
class GroupLasso:
    """Pull whole rows to 0: strength * sum over rows of sqrt(size) * ||row||_2 (Yuan & Lin 2006).

    "proximal": after each step every row is shortened by rate * strength * sqrt(size), and is
    exactly 0 once it would be shorter than that (block soft-thresholding, the proximal operator of
    the penalty). With momentum only the weights are shortened, not the momentum. "gradient": the
    subgradient strength * sqrt(size) * row / ||row||, 0 for a row of zeros, is added to that of the
    loss; rows become small, but not 0.

    It acts on the weights that may be pruned, in layers of two or more dimensions. `size` is that
    of a whole row. ValueError unless strength is a finite number of 0 or more, and where no layer
    has rows.

    >>> lasso = GroupLasso(strength=0.5)
    >>> weights = {"a": torch.tensor([[3.0, 0.0, 4.0, 0.0], [0.1, 0.1, 0.0, 0.0]])}
    >>> targets = {"a": torch.ones(2, 4, dtype=torch.bool)}
    >>> lasso.shrink(weights, targets, step=0, num_steps=1, rate=1.0)["a"].round(decimals=4)
    tensor([[2.4000, 0.0000, 3.2000, 0.0000],
            [0.0000, 0.0000, 0.0000, 0.0000]])
    """

    strength: float
    by: Literal["proximal", "gradient"] = "proximal"

    def __post_init__(self) -> None:
        _require_strength(self.strength)
        _require_one_of("by", self.by, ("proximal", "gradient"))

    def targets(self, weights: Weights, masks: Masks) -> Masks:
        """Return the masks of the layers that have rows of several weights."""
        found = {name: mask for name, mask in masks.items() if mask.dim() > 1}
        if not found:
            raise ValueError(f"a group lasso needs rows, and none of {sorted(masks)} has any")
        return found

    def gradients(
        self, weights: Weights, targets: Masks, *, step: int, num_steps: int, rate: float
    ) -> Weights:
        """Return the subgradients of the penalty, {} where it is proximal."""
        if self.by == "proximal":
            return {}
        return {name: self._subgradient(weights[name]) for name in targets}

    def shrink(
        self, weights: Weights, targets: Masks, *, step: int, num_steps: int, rate: float
    ) -> Weights:
        """Return the rows shortened, {} where the penalty is a gradient."""
        if self.by == "gradient":
            return {}
        return {name: self._shortened(weights[name], rate) for name in targets}

    def _subgradient(self, weight: Tensor) -> Tensor:
        rows = selection.rows(weight)
        norms = rows.norm(dim=1, keepdim=True)
        pulls = self._weight_of(rows) * torch.where(norms > 0, rows / norms, 0.0)
        return pulls.view_as(weight)

    def _shortened(self, weight: Tensor, rate: float) -> Tensor:
        rows = selection.rows(weight)
        norms = rows.norm(dim=1, keepdim=True)
        shorter = (norms - rate * self._weight_of(rows)).clamp(min=0.0)
        return torch.where(norms > 0, rows * (shorter / norms), 0.0).view_as(weight)

    def _weight_of(self, rows: Tensor) -> float:
        return self.strength * math.sqrt(rows.shape[1])


def _require_strength(strength: float) -> None:
    if not 0 <= strength < math.inf:
        raise ValueError(f"strength={strength} is not a finite number of 0 or more")


def _require_one_of(name: str, value: str, valid: tuple[str, ...]) -> None:
    if value not in valid:
        raise ValueError(f"{name}={value!r} is not one of {', '.join(map(repr, valid))}")
