"""What is measured of several tickets together: of a group of seeds, of two groups, of two.

A comparison takes a `Compared` and returns plain data, or raises `CannotStudy` with the reason. It
is stored as a stage whose inputs are all the tickets that it is about.
"""

from __future__ import annotations

import dataclasses
import itertools
import statistics
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from sparsekit.core import overlap
from sparsekit.core.prune import apply, require_same_layers
from sparsekit.core.types import Masks
from sparsekit.evaluation import calibration as sure
from sparsekit.evaluation import disparity
from sparsekit.method.judge import Judge, SplitName
from sparsekit.method.outputs import Split, logits_of
from sparsekit.method.studies import SKIPPED, STUDY, CannotStudy, line, require_points
from sparsekit.networks.network import stored_network
from sparsekit.store.identity import Stage
from sparsekit.store.store import Store
from sparsekit.store.tensors import load_network
from sparsekit.system.files import write_measured

COMPARISON_VERSION = 2
SPLITS: tuple[SplitName, ...] = ("train", "val", "test")
LEAST = 2


@dataclasses.dataclass(frozen=True)
class Compared:
    """Tickets in one or two groups, on the same task and data, and who judges each."""

    groups: tuple[tuple[str, ...], ...]
    judge_of: Callable[[str], Judge]
    store: Store

    def logits(self, group: int, split: Split) -> tuple[Tensor, Tensor]:
        """Return logits [M, N, C] of the networks of a group, and the classes [N]."""
        found = [
            logits_of(key, split, judge=self.judge_of(key), store=self.store)
            for key in self.groups[group]
        ]
        return torch.stack([logits for logits, _ in found]), found[0][1]

    def pair(self) -> tuple[str, str]:
        """Return the only ticket of each of two groups."""
        (first,), (second,) = self.groups
        return first, second


Comparison = Callable[[Compared], Mapping[str, Any]]
"""Measures tickets together, and returns plain data; raises CannotStudy where it cannot."""


def ensure_comparison(function: Comparison, asked: Compared) -> tuple[str, str | None]:
    """Return the key of a comparison, and why it could not be made, if so."""
    config = {"comparison": function, "groups": [len(group) for group in asked.groups]}
    inputs = tuple(itertools.chain(*asked.groups))
    stage = Stage("comparison", config, inputs=inputs, version=COMPARISON_VERSION)

    def compute(folder: Path) -> None:
        try:
            content = function(asked)
        except CannotStudy as reason:
            content = {SKIPPED: str(reason)}
        write_measured(folder / STUDY, content)

    key = asked.store.ensure(stage, compute)
    return key, asked.store.read(key, STUDY).get(SKIPPED)


def ensembles(
    asked: Compared, *, num_bins: int = sure.BINS, split: Split = "test"
) -> dict[str, Any]:
    """Measure the prediction ensemble of a group: probabilities are averaged before anything else.

    `mean` is that of its networks, each for itself; `churn` how often two of them disagree.
    """
    _require_several(asked.groups[0])
    logits, labels = asked.logits(0, split)
    together = log_mean_probabilities(logits)
    alone = [_quality(one, labels, num_bins) for one in logits]
    mean = {name: statistics.fmean(one[name] for one in alone) for name in alone[0]}
    ensemble = _quality(together, labels, num_bins)
    predictions = logits.argmax(2)
    pairs = itertools.combinations(predictions, 2)
    return {
        "split": split,
        "num_networks": len(logits),
        "num_examples": len(labels),
        "num_bins": num_bins,
        **ensemble,
        "gain": ensemble["accuracy"] - mean["accuracy"],
        "churn": statistics.fmean(float((a != b).double().mean()) for a, b in pairs),
        "mean": mean,
    }


def log_mean_probabilities(logits: Tensor) -> Tensor:
    """Return the logarithm of the mean softmax of networks [M, N, C], float64 [N, C].

    >>> probs = torch.tensor([[[0.9, 0.1]], [[0.4, 0.6]]])
    >>> log_mean_probabilities(probs.log()).exp().round(decimals=6).tolist()
    [[0.65, 0.35]]
    """
    logs = logits.double().log_softmax(2)
    return logs.logsumexp(0) - torch.tensor(float(len(logits)), dtype=torch.float64).log()


def exemplars(asked: Compared, *, split: Split = "test") -> dict[str, Any]:
    """Measure which examples and classes pay for what tells the first group from the second.

    The second is the dense one, or whatever the first is held against. `exemplars`: places of the
    examples whose most frequent prediction differs (of equally frequent ones, the lowest class);
    see `sparsekit.evaluation.disparity`. Examples that are hard for both are among them, so the
    accuracy of both on them is there, too.
    """
    for group in asked.groups:
        _require_several(group)
    (logits, labels), (others, _) = (asked.logits(group, split) for group in (0, 1))
    num_classes = logits.shape[2]
    sparse, dense = logits.argmax(2), others.argmax(2)
    differs = disparity.exemplars(dense, sparse)
    groups = {"sparse": sparse, "dense": dense}
    recalls = {
        name: [disparity.recalls(one, labels, num_classes=num_classes) for one in group]
        for name, group in groups.items()
    }
    means = {
        name: [statistics.fmean(one) for one in zip(*of, strict=True)]
        for name, of in recalls.items()
    }
    accuracies = {name: (group == labels).double().mean(1) for name, group in groups.items()}
    lost = disparity.class_disparities(
        recalls["dense"],
        accuracies["dense"].tolist(),
        recalls["sparse"],
        accuracies["sparse"].tolist(),
    )
    return {
        "split": split,
        "num_examples": len(labels),
        "num_networks": {name: len(group) for name, group in groups.items()},
        "share": float(differs.double().mean()),
        "churn": disparity.churn(dense, sparse),
        "accuracy": {name: float(one.mean()) for name, one in accuracies.items()},
        "accuracy_on_exemplars": {
            name: float((group == labels)[:, differs].double().mean())
            for name, group in groups.items()
        },
        "worst_class": {name: _worst(of) for name, of in means.items()},
        "deviation_of_classes": {name: _deviation(of) for name, of in means.items()},
        "classes": [
            {
                "name": str(index),
                "dense": means["dense"][index],
                "sparse": means["sparse"][index],
                "num_exemplars": int((differs & (labels == index)).sum()),
                **dataclasses.asdict(one),
            }
            for index, one in enumerate(lost)
        ],
        "exemplars": differs.nonzero()[:, 0].tolist(),
    }


def connectivity(asked: Compared, *, num_points: int = 11) -> dict[str, Any]:
    """Measure error and loss on the line between two networks (Frankle et al. 2020).

    On `num_points` equally spaced points, statistics of normalisation layers estimated anew at each
    from the same training examples; on train, val and test. `instability` and barriers as in
    `sparsekit.method.studies.barriers`. Between networks of different masks the path is denser than
    its ends: `density` says how dense each is. ValueError for fewer than 11 points.
    """
    alphas = require_points(num_points, least=11)
    pair = asked.pair()
    network, other = (stored_network(asked.store, key) for key in pair)
    if dataclasses.replace(network, seed=other.seed) != other:
        raise CannotStudy("needs two networks that are built in the same way")
    (state, masks), (other_state, other_masks) = (load_network(asked.store, key) for key in pair)
    _require_same_layers(masks, other_masks)
    ends = apply(state, masks), apply(other_state, other_masks)
    return {
        "alphas": alphas,
        "masks_are_equal": all(bool(mask.equal(other_masks[name])) for name, mask in masks.items()),
        "density": {
            "first": _density(masks),
            "second": _density(other_masks),
            "path": _density({name: mask | other_masks[name] for name, mask in masks.items()}),
        },
        **line(asked.judge_of(pair[0]).on(network), *ends, alphas, SPLITS),
    }


def mask_overlap(asked: Compared) -> dict[str, Any]:
    """Measure how many weights two networks keep in common; see `sparsekit.core.overlap`."""
    masks, others = (load_network(asked.store, key)[1] for key in asked.pair())
    _require_same_layers(masks, others)
    return overlap.mask_overlap(masks, others)


def _quality(logits: Tensor, labels: Tensor, num_bins: int) -> dict[str, float]:
    accuracy = float((logits.argmax(1) == labels).double().mean())
    return {"accuracy": accuracy, **sure.errors(logits, labels, num_bins)}


def _require_several(group: Sequence[str]) -> None:
    if len(group) < LEAST:
        raise CannotStudy("needs several networks in a group: the same with other seeds")


def _require_same_layers(first: Masks, second: Masks) -> None:
    try:
        require_same_layers(first, second)
    except ValueError as error:
        raise CannotStudy("needs two networks with the same prunable weights") from error


def _density(masks: Masks) -> float:
    sizes = sum(mask.numel() for mask in masks.values())
    return sum(int(mask.sum()) for mask in masks.values()) / sizes


def _worst(recalls: Sequence[float]) -> float:
    return min(one for one in recalls if one == one)


def _deviation(recalls: Sequence[float]) -> float | None:
    known = [one for one in recalls if one == one]
    return statistics.stdev(known) if len(known) > 1 else None
