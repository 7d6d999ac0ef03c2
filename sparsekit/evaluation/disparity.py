"""Who pays for pruning: classes and examples that sparse networks get wrong and dense ones do not.

After Hooker et al. 2019 and 2020. Groups of networks are compared, so one network is not enough:
an example on which even dense networks disagree is no example of what pruning does.
"""

from __future__ import annotations

import dataclasses
import statistics
import warnings
from collections.abc import Sequence

import torch
from scipy.stats import ttest_ind
from torch import Tensor

from sparsekit.evaluation.significance import holm


def recalls(predictions: Tensor, labels: Tensor, *, num_classes: int) -> list[float]:
    """Return the share of each class that is recognised; NaN for a class without examples.

    `predictions`, `labels`: int64 [N].
    """
    right = predictions == labels
    return [float(right[labels == c].double().mean()) for c in range(num_classes)]


def modal(predictions: Tensor) -> Tensor:
    """Return the most frequent prediction of networks [M, N] for each example, [N].

    Of equally frequent ones it is the lowest class.
    """
    num_classes = int(predictions.max()) + 1
    votes = torch.nn.functional.one_hot(predictions, num_classes).sum(0)
    return votes.argmax(1)


def exemplars(dense: Tensor, sparse: Tensor) -> Tensor:
    """Return which examples pruning identifies, bool [N]: those whose modal prediction differs.

    `dense`, `sparse`: predictions of networks, [M, N] and [K, N].
    """
    return modal(dense) != modal(sparse)


def churn(dense: Tensor, sparse: Tensor) -> float:
    """Return the share of predictions that differ, mean over all pairs of a dense and a sparse one.

    `dense`, `sparse`: [M, N] and [K, N].
    """
    return float((dense[:, None] != sparse[None]).double().mean())


@dataclasses.dataclass(frozen=True)
class ClassDisparity:
    """How pruning changes one class more than all: recall less accuracy, sparse less dense.

    `p`: of Welch's t test between the two groups of networks, corrected for the number of classes
    (Holm 1979); NaN where a group has one network or its values do not vary.
    """

    difference: float
    recall_change: float
    p: float


def class_disparities(
    dense_recalls: Sequence[Sequence[float]],
    dense_accuracy: Sequence[float],
    sparse_recalls: Sequence[Sequence[float]],
    sparse_accuracy: Sequence[float],
) -> list[ClassDisparity]:
    """Return the disparity of each class between groups of networks.

    Recalls are [networks][classes], accuracies [networks]. From each recall the mean accuracy of
    its group is taken: what is left is what a class gains or loses beside all others.
    """
    dense, sparse = (
        [[recall - statistics.fmean(accuracy) for recall in one] for one in group]
        for group, accuracy in ((dense_recalls, dense_accuracy), (sparse_recalls, sparse_accuracy))
    )
    pairs = list(zip(zip(*dense, strict=True), zip(*sparse, strict=True), strict=True))
    ps = holm([_welch(before, after) for before, after in pairs])
    changes = [
        statistics.fmean(after) - statistics.fmean(before)
        for before, after in zip(
            zip(*dense_recalls, strict=True), zip(*sparse_recalls, strict=True), strict=True
        )
    ]
    return [
        ClassDisparity(statistics.fmean(after) - statistics.fmean(before), change, p)
        for (before, after), change, p in zip(pairs, changes, ps, strict=True)
    ]


def _welch(first: Sequence[float], second: Sequence[float]) -> float:
    if min(len(first), len(second)) < 2:
        return float("nan")
    with warnings.catch_warnings():
        # Of values that hardly vary; the p says so itself.
        warnings.simplefilter("ignore", RuntimeWarning)
        return float(ttest_ind(first, second, equal_var=False).pvalue)
