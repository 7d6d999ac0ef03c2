"""How much each weight matters: (weights, masks, probe) -> scores, higher = keep.

Every weight gets a score, also those already pruned; `prune` ignores the latter.
"""

import torch
from torch import Tensor

from sparsekit.core.seeds import derive
from sparsekit.core.types import Masks, Probe, Scores, Weights


def magnitude(weights: Weights, masks: Masks, probe: Probe | None) -> Scores:
    """Score a weight by its absolute value |w| (Han et al. 2015).

    >>> magnitude({"a": torch.tensor([[-2.0, 1.0]])}, {}, None)
    {'a': tensor([[2., 1.]])}
    """
    return {name: weight.detach().abs() for name, weight in weights.items()}


def random(weights: Weights, masks: Masks, probe: Probe | None, *, seed: int) -> Scores:
    """Score every weight uniformly at random in [0, 1).

    Each layer draws from its own generator, seeded by (seed, name of the layer), so that a layer's
    scores depend neither on the other layers nor on the device nor on the process.

    >>> first = random({"a": torch.ones(2, 2)}, {}, None, seed=0)
    >>> again = random({"b": torch.ones(3), "a": torch.ones(2, 2)}, {}, None, seed=0)
    >>> torch.equal(first["a"], again["a"])
    True
    """
    return {name: _uniform(weight, derive(seed, name)) for name, weight in weights.items()}


def _uniform(like: Tensor, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(like.shape, generator=generator).to(like.device)


def lamp(weights: Weights, masks: Masks, probe: Probe | None) -> Scores:
    """Score a weight by its share of the energy that would be left without the smaller ones.

    score(u) = w_u^2 / sum of w_v^2 over the weights of the layer that are not smaller (Lee et al.
    2021, equation 1). The largest weight of every layer scores exactly 1, so allocating these
    scores globally empties no layer before every layer is down to one weight. Pruned weights do
    not count. float64 throughout: a float32 sum over millions of squares moves the largest score
    off 1. Of equal weights the one with the lower index scores higher.

    >>> weights, masks = {"a": torch.tensor([1.0, -2.0])}, {"a": torch.tensor([True, True])}
    >>> lamp(weights, masks, None)["a"].tolist()
    [0.2, 1.0]
    """
    return {name: _lamp(weight.detach(), masks[name]) for name, weight in weights.items()}


def _lamp(weight: Tensor, mask: Tensor) -> Tensor:
    # -1 ranks the pruned below every survivor, zeros included
    sizes = weight.abs().masked_fill(~mask, -1.0).flatten()
    if sizes.numel() == 0:
        return weight.double()
    descending = sizes.sort(descending=True, stable=True)
    squares = descending.values.double().clamp(min=0.0).square()
    energy = squares.cumsum(dim=0)
    ranked = torch.where(energy > 0, squares / energy, 0.0)
    ranked[0] = 1.0  # also where every weight is zero
    return torch.empty_like(ranked).scatter_(0, descending.indices, ranked).view(weight.shape)
