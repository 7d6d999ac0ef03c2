"""Whether a classifier is as often right as it is sure: errors of calibration, and diagrams.

Confidence is the largest probability; of equal ones the first class is the prediction. All numbers
are fractions, in float64. The expected calibration error (Guo et al. 2017) is biased upwards where
there are few examples or many bins: give both with it. Average it over seeds, never pool them.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy, one_hot

BINS = 15
LOWEST, HIGHEST, HALVINGS = -5.0, 5.0, 80
"""Of the natural logarithm of a temperature, and how often the interval between is halved."""


@dataclasses.dataclass(frozen=True)
class Bin:
    """Examples of like confidence: how many, the share that is right, their mean confidence."""

    count: int
    accuracy: float
    confidence: float

    @property
    def gap(self) -> float:
        """How far the two are apart."""
        return abs(self.accuracy - self.confidence)


def probabilities(logits: Tensor) -> Tensor:
    """Return the softmax of logits [N, C] in float64."""
    return logits.double().softmax(1)


def top(probs: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Return confidence and whether the prediction is right, each float64 [N].

    `probs`: [N, C], `labels`: int64 [N].
    """
    # Of equal ones torch.max may return any, argmax the first.
    predicted = probs.argmax(1)
    return probs.gather(1, predicted[:, None])[:, 0].double(), (predicted == labels).double()


def equal_width(confidence: Tensor, correct: Tensor, *, num_bins: int = BINS) -> list[Bin]:
    """Return the bins (b / B, (b + 1) / B] that hold examples; a confidence of 0 is in the first.

    >>> half = torch.tensor([0.5, 0.5, 1.0])
    >>> [one.count for one in equal_width(half, torch.ones(3), num_bins=2)]
    [2, 1]
    """
    edges = torch.arange(1, num_bins, dtype=torch.float64) / num_bins
    index = torch.bucketize(confidence.double().contiguous(), edges)
    groups = [torch.nonzero(index == b)[:, 0] for b in range(num_bins)]
    return [_bin(confidence, correct, members) for members in groups if len(members)]


def equal_mass(confidence: Tensor, correct: Tensor, *, num_bins: int = BINS) -> list[Bin]:
    """Return bins of equally many examples, by ascending confidence; the first take what is over.

    The adaptive calibration error is that of these bins (Nixon et al. 2019).
    """
    order = torch.sort(confidence.double(), stable=True).indices
    groups = torch.tensor_split(order, num_bins)
    return [_bin(confidence, correct, members) for members in groups if len(members)]


def expected_error(bins: Sequence[Bin]) -> float:
    """Return the mean gap over all examples: sum_b n_b / n |accuracy_b - confidence_b|."""
    return sum(one.count * one.gap for one in bins) / sum(one.count for one in bins)


def root_mean_square_error(bins: Sequence[Bin]) -> float:
    """Return the root of the mean squared gap over all examples."""
    total = sum(one.count for one in bins)
    return float((sum(one.count * one.gap**2 for one in bins) / total) ** 0.5)


def largest_error(bins: Sequence[Bin]) -> float:
    """Return the largest gap of any bin."""
    return max(one.gap for one in bins)


def classwise_error(probs: Tensor, labels: Tensor, *, num_bins: int = BINS) -> float:
    """Return the mean over classes of the error of each class against the rest.

    `probs`: [N, C]. For class c the confidence of an example is its probability of c, and it is
    right if its label is c (Kull et al. 2019).
    """
    errors = [
        expected_error(equal_width(probs[:, c], (labels == c).double(), num_bins=num_bins))
        for c in range(probs.shape[1])
    ]
    return sum(errors) / len(errors)


def brier(probs: Tensor, labels: Tensor) -> float:
    """Return the mean over examples of sum_c (p_c - [y = c])^2, from 0 to 2 (Brier 1950).

    Some divide by the number of classes.
    """
    return float((probs.double() - one_hot(labels, probs.shape[1])).square().sum(1).mean())


def negative_log_likelihood(logits: Tensor, labels: Tensor) -> float:
    """Return the mean cross-entropy of logits [N, C] in nats."""
    return float(cross_entropy(logits.double(), labels))


def errors(logits: Tensor, labels: Tensor, num_bins: int = BINS) -> dict[str, float]:
    """Return ECE, adaptive ECE, Brier score and NLL of logits [N, C]."""
    probs = probabilities(logits)
    confidence, correct = top(probs, labels)
    return {
        "ece": expected_error(equal_width(confidence, correct, num_bins=num_bins)),
        "adaptive_ece": expected_error(equal_mass(confidence, correct, num_bins=num_bins)),
        "brier": brier(probs, labels),
        "nll": negative_log_likelihood(logits, labels),
    }


def fit_temperature(logits: Tensor, labels: Tensor) -> float:
    """Return the T with the least cross-entropy of logits / T (Guo et al. 2017), e^-5 to e^5.

    To be fitted on validation. The loss is convex in 1 / T, so that halving an interval by the sign
    of the slope finds its least value.
    """
    low, high = LOWEST, HIGHEST
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        inverse = torch.tensor(middle, dtype=torch.float64).neg().exp().requires_grad_()
        (slope,) = torch.autograd.grad(cross_entropy(logits.double() * inverse, labels), inverse)
        low, high = (middle, high) if slope > 0 else (low, middle)
    return float(torch.tensor((low + high) / 2, dtype=torch.float64).exp())


def _bin(confidence: Tensor, correct: Tensor, members: Tensor) -> Bin:
    return Bin(
        len(members),
        float(correct[members].double().mean()),
        float(confidence[members].double().mean()),
    )
