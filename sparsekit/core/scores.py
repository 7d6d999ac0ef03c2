"""How much each weight matters: (weights, masks, probe) -> scores, higher = keep.

Every weight gets a score, even if it is pruned already; `prune` ignores the latter. Last in this
file, `iterated`: pruning in many turns, for scores that are only as good as what is left.
"""

import torch
from torch import Tensor

from sparsekit.core.seeds import derive
from sparsekit.core.types import Masks, Probe, Sample, Scores, Weights


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


def snip(
    weights: Weights,
    masks: Masks,
    probe: Probe | None,
    *,
    seed: int,
    images_per_class: int = 10,
    num_batches: int = 1,
    train_mode: bool = False,
) -> Scores:
    """Score a weight by how much the loss changes, to first order, when it is scaled: |g w|.

    g is the gradient of the mean cross-entropy; g w is that with respect to a multiplicative mask
    at 1 (SNIP, Lee et al. 2019, section 4.1: connection sensitivity). The paper divides by the sum
    over all weights, which changes no order and is left out. Images and mode: `types.Sample`.
    """
    sample = Sample(seed, images_per_class, num_batches, train_mode)
    gradients = _required(probe, "snip").gradients(weights, sample)
    result = {name: (gradients[name] * weight.detach()).abs() for name, weight in weights.items()}
    return _informative(result, "snip")


def grasp(
    weights: Weights,
    masks: Masks,
    probe: Probe | None,
    *,
    seed: int,
    images_per_class: int = 10,
    num_batches: int = 1,
    train_mode: bool = False,
    temperature: float = 200.0,
) -> Scores:
    """Score a weight by w * (H g): keep what the norm of the gradient would suffer from losing.

    Setting w to 0 changes |g|^2 by -2 w (H g) to first order, H the Hessian of the mean
    cross-entropy and g its gradient (GraSP, Wang et al. 2020: gradient signal preservation). The
    authors' code takes S = -w (H g) and removes the largest S; higher = keep turns the sign: large
    positive scores stay, negative ones go first, the more negative the sooner. Logits are divided
    by `temperature`, which flattens the softmax. Images and mode: `types.Sample`. ValueError unless
    temperature > 0.
    """
    if not temperature > 0:
        raise ValueError(f"temperature must be positive, got {temperature}")
    asked = _required(probe, "grasp")
    sample = Sample(seed, images_per_class, num_batches, train_mode)
    gradients = asked.gradients(weights, sample, temperature=temperature)
    products = asked.hessian_product(weights, gradients, sample, temperature=temperature)
    result = {name: products[name] * weight.detach() for name, weight in weights.items()}
    return _informative(result, "grasp")


def synflow(weights: Weights, masks: Masks, probe: Probe | None) -> Scores:
    """Score a weight by its part of the flow through the network: |dR/d|w| * w|, in float64.

    R is the summed output for an input of ones when every parameter is replaced by its absolute
    value (SynFlow, Tanaka et al. 2020, algorithm 1); no data. A pruned weight that is 0 scores 0.
    In one shot it empties whole layers, so it is meant to be `iterated`.
    """
    flows = _required(probe, "synflow").flow(weights)
    result = {name: (flows[name] * w.detach().double()).abs() for name, w in weights.items()}
    return _informative(result, "synflow")


def _required(probe: Probe | None, asker: str) -> Probe:
    if probe is None:
        raise ValueError(f"{asker} asks the task for gradients, but got no probe")
    return probe


def _informative(scores: Scores, scorer: str) -> Scores:
    """Return the scores; ValueError if all are 0, which would select by index alone."""
    if not any(bool(values.any()) for values in scores.values()):
        raise ValueError(
            f"{scorer} scores every weight 0: nothing passes through the network, because a layer "
            "is empty by now (ask for less sparsity or more iterations) or initialised to 0"
        )
    return scores
