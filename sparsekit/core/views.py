"""Views: what the forward pass sees instead of the weights that the optimizer keeps.

Hard masks need none: there the two are the same. Shapes: weights and masks as in `types`.
"""

import math
from dataclasses import dataclass

from torch import Tensor

from sparsekit.core import selection
from sparsekit.core.prune import apply
from sparsekit.core.types import Masks, Weights


@dataclass(frozen=True, kw_only=True)
class StraightThrough:
    """See n of every m consecutive inputs, and let gradients pass to all weights (STE, SR-STE).

    The forward pass sees m(w) * w, with the mask m(w) of the n largest magnitudes of every group
    chosen anew at each step, and the gradient with respect to w is taken to be that with respect
    to m(w) * w: the straight-through estimator, so that pruned weights go on learning and may come
    back. `decay` is lambda_W of SR-STE (Zhou et al. 2021): decay * (1 - m(w)) * w is
    added to that gradient, which pulls pruned weights towards 0 and makes masks settle; with 0 it
    is plain STE. An optimizer that decouples weight decay (AdamW) decouples this one too. The
    weight decay of the optimizer acts on all weights on top.

    Groups run along dimension 1, the inputs a matrix product sums over, as in `patterns.n_of_m`;
    magnitudes that tie go to the lower index. What `masks` prune stays pruned. The n of m weights
    at the end are what is published. ValueError unless 0 < n <= m and decay >= 0.

    >>> import torch
    >>> w = torch.tensor([[0.9, -0.1, 0.5, -0.6]], requires_grad=True)
    >>> view = StraightThrough(n=2, m=4, decay=0.1)
    >>> seen = view.view({"a": w}, {"a": torch.ones(1, 4, dtype=torch.bool)}, step=0)
    >>> seen["a"].tolist() == [[w[0, 0], 0, 0, w[0, 3]]]
    True
    >>> seen["a"].sum().backward()
    >>> w.grad.tolist(), view.pull({"a": w.detach()}, seen, step=0)["a"].round(decimals=3)
    ([[1.0, 1.0, 1.0, 1.0]], tensor([[ 0.0000, -0.0100,  0.0500,  0.0000]]))
    """

    n: int
    m: int
    decay: float = 0.0

    def __post_init__(self) -> None:
        if not 0 < self.n <= self.m:
            raise ValueError(f"a view of n of m needs 0 < n <= m, got n={self.n}, m={self.m}")
        if not 0 <= self.decay < math.inf:
            raise ValueError(f"decay={self.decay} is not a finite number of 0 or more")

    @property
    def sparsity(self) -> float:
        return (self.m - self.n) / self.m

    def view(self, weights: Weights, masks: Masks, step: int) -> Weights:
        """Return the weights with all but n of m at exactly 0; gradients pass straight to all."""
        return {
            name: _straight(weights[name], _largest(weights[name], mask, n=self.n, m=self.m))
            for name, mask in masks.items()
        }

    def pull(self, weights: Weights, seen: Weights, step: int) -> Weights:
        """Return decay * (1 - m(w)) * w, which is decay * (w - what is seen of it), to the bit."""
        if self.decay == 0:
            return {}
        return {name: (weights[name] - one.detach()) * self.decay for name, one in seen.items()}

    def project(self, weights: Weights, masks: Masks) -> tuple[Weights, Masks]:
        """Return the n of m weights that are seen, and their masks."""
        kept = {
            name: _largest(weights[name], mask, n=self.n, m=self.m) for name, mask in masks.items()
        }
        return apply({name: weights[name] for name in masks}, kept), kept

    def rehearse(self, weights: Weights, masks: Masks) -> None:
        """Raise ValueError, naming the layer and a way out, if inputs do not divide into groups."""
        for name, mask in masks.items():
            shape = tuple(mask.shape)
            way_out = f"leave it out with 'prunable.exclude=[{name}]'"
            if len(shape) < 2:
                raise ValueError(f"{name!r} of shape {shape} has no inputs to group; {way_out}")
            if shape[1] % self.m:
                divisors = [m for m in range(2, self.m) if shape[1] % m == 0]
                fitting = f", or take an m of {divisors}" if divisors else ""
                raise ValueError(
                    f"{name!r} has {shape[1]} inputs, which do not divide into groups of "
                    f"m={self.m}; {way_out}{fitting}"
                )


def _straight(weight: Tensor, mask: Tensor) -> Tensor:
    # In floating point w + (w - w) is w, and w + (0 - w) is 0: what is seen is exact.
    return weight + (weight.masked_fill(~mask, 0.0) - weight).detach()


def _largest(weight: Tensor, mask: Tensor, *, n: int, m: int) -> Tensor:
    """Return the mask of the n largest magnitudes among what `mask` keeps of every m inputs."""
    magnitudes = weight.detach().abs().masked_fill(~mask, -math.inf).movedim(1, -1)
    kept = selection.top_per_row(magnitudes.reshape(-1, m), n).view(magnitudes.shape)
    return kept.movedim(-1, 1).contiguous() & mask
