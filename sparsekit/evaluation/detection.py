"""How well a network tells examples of its own data set from others, by how sure it is.

Scores are higher for what looks like the data that was trained on, and that is the positive class
throughout: the false positive rate would be another number if it were the other way round.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from sklearn.metrics import average_precision_score, roc_auc_score
from torch import Tensor

TRUE_POSITIVES = 0.95


def max_softmax(logits: Tensor) -> Tensor:
    """Return the largest probability of logits [N, C] (Hendrycks & Gimpel 2017)."""
    return logits.double().softmax(1).amax(1)


def max_logit(logits: Tensor) -> Tensor:
    """Return the largest logit of [N, C] (Hendrycks et al. 2022)."""
    return logits.double().amax(1)


def energy(logits: Tensor) -> Tensor:
    """Return the negative free energy log sum_c exp(logit_c) of [N, C] (Liu et al. 2020)."""
    return logits.double().logsumexp(1)


def negative_entropy(logits: Tensor) -> Tensor:
    """Return sum_c p_c log p_c of logits [N, C]."""
    logs = logits.double().log_softmax(1)
    return (logs.exp() * logs).sum(1)


SCORES: Mapping[str, Callable[[Tensor], Tensor]] = {
    one.__name__: one for one in (max_softmax, max_logit, energy, negative_entropy)
}


def area_under_roc(own: Tensor, other: Tensor) -> float:
    """Return the chance that an example of one's own scores higher than another; ties count half.

    `own`, `other`: scores [N] and [M].
    """
    return float(roc_auc_score(*_labelled(own, other)))


def false_positive_rate(own: Tensor, other: Tensor, *, true: float = TRUE_POSITIVES) -> float:
    """Return the share of `other` at the highest threshold that at least `true` of `own` reach."""
    least = -(-round(true * len(own) * 1e9) // 10**9)  # whole examples, without rounding errors
    threshold = torch.sort(own.double(), descending=True).values[max(least, 1) - 1]
    return float((other.double() >= threshold).double().mean())


def area_under_precision(own: Tensor, other: Tensor) -> float:
    """Return the average precision of finding examples of one's own."""
    return float(average_precision_score(*_labelled(own, other)))


def area_under_precision_of_others(own: Tensor, other: Tensor) -> float:
    """Return the average precision of finding the others, by the negated scores."""
    return float(average_precision_score(*_labelled(-other, -own)))


def detection(own: Tensor, other: Tensor) -> dict[str, float]:
    """Return what tells how well scores [N] of one's own examples and of others [M] are apart."""
    return {
        "auroc": area_under_roc(own, other),
        "fpr95": false_positive_rate(own, other),
        "aupr_own": area_under_precision(own, other),
        "aupr_other": area_under_precision_of_others(own, other),
    }


def _labelled(positive: Tensor, negative: Tensor) -> tuple[list[int], list[float]]:
    labels = [1] * len(positive) + [0] * len(negative)
    return labels, torch.cat([positive, negative]).double().tolist()
