"""Seeded splits, stratified by class. Their seed belongs to the data set, not to the run."""

import torch
from torch import Tensor

from sparsekit.data.order import keyed_generator


def split_indices(labels: Tensor, *, num_val: int, seed: int) -> tuple[Tensor, Tensor]:
    """Split image indices into (train, val), each sorted; `val` has exactly `num_val` of them.

    Every class gives its share of the validation images, rounded by largest remainder (the lower
    class wins a tie), and which of its images go is drawn from `seed`. `labels` is int64 [N].

    Raises ValueError unless 0 <= num_val < N.
    """
    if not 0 <= num_val < len(labels):
        raise ValueError(
            f"num_val={num_val}: must be at least 0 and below {len(labels)}, the examples there"
        )
    generator = keyed_generator("split", seed)
    chosen = torch.zeros(len(labels), dtype=torch.bool)
    for label, count in enumerate(_stratified_counts(labels, num_val)):
        members = (labels == label).nonzero()[:, 0]
        shuffled = members[torch.randperm(len(members), generator=generator)]
        chosen[shuffled[:count]] = True
    return (~chosen).nonzero()[:, 0], chosen.nonzero()[:, 0]


def random_indices(num: int, *, num_taken: int, seed: int) -> tuple[Tensor, Tensor]:
    """Split 0 .. num - 1 into (kept, taken), each sorted, where examples have no class.

    Raises ValueError unless 0 <= num_taken < num.
    """
    return split_indices(torch.zeros(num, dtype=torch.int64), num_val=num_taken, seed=seed)


def _stratified_counts(labels: Tensor, num_val: int) -> list[int]:
    """Return the validation images per class: proportional to its size, `num_val` in all."""
    # In integers, so that no remainder depends on floating-point rounding.
    shares = torch.bincount(labels) * num_val
    counts, remainders = shares // len(labels), shares % len(labels)
    leftover = num_val - int(counts.sum())
    counts[remainders.argsort(descending=True, stable=True)[:leftover]] += 1
    return counts.tolist()
