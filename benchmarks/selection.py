"""Global magnitude selection, ours and with torch.sort, topk and kthvalue.

`python -m benchmarks.selection` starts from weights of the shapes of ResNet-50 (25.5 million
prunable) and ViT-B/16 (86.3 million), normal with a standard deviation that differs by layer, and
keeps a tenth of them. torch's ways concatenate the magnitudes and make masks, as
`torch.nn.utils.prune.global_unstructured` does with topk. `prune()` does more: it checks its input
and its result, and ranks twice, since how many and which are two decisions that can be replaced.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Mapping, Sequence
from functools import partial

import torch
from torch import Tensor, nn

from benchmarks import timing
from sparsekit.core import allocate, patterns, scores
from sparsekit.core.counts import budget
from sparsekit.core.prune import prune
from sparsekit.core.types import Masks, Weights
from sparsekit.models.cifar_resnet import cifar_resnet
from sparsekit.models.prunable import prunable
from sparsekit.models.torchvision_models import resnet50, vit_b_16

SPARSITY, GLOBALLY_SECONDS = 0.9, 0.5
PRUNE, GLOBALLY = "ours: prune()", "ours: allocate.globally alone"
Model = Callable[[tuple[int, int, int], int], nn.Module]
MODELS: dict[str, Model] = {"ResNet-50": resnet50, "ViT-B/16": vit_b_16}
QUICK: dict[str, Model] = {"ResNet-20": cifar_resnet}


def weights_like(model: Model) -> Weights:
    """Random weights of the shapes of a model, which is not itself allocated."""
    with torch.device("meta"):
        built = model((3, 224, 224), 1000)
    shapes = {name: p.shape for name, p in built.named_parameters()}
    generator = torch.Generator().manual_seed(0)
    return {
        name: torch.randn(shapes[name], generator=generator) / math.sqrt(shapes[name][1:].numel())
        for name in prunable(built)
    }


def ours(weights: Weights, num_kept: int) -> Masks:
    """Masks by the shipped `prune`, checks included."""
    dense = {name: torch.ones_like(w, dtype=torch.bool) for name, w in weights.items()}
    return prune(
        weights,
        dense,
        None,
        num_kept,
        score=scores.magnitude,
        allocate=allocate.globally,
        pattern=patterns.unstructured,
    )


def magnitudes(weights: Weights) -> Tensor:
    """All magnitudes in one vector."""
    return torch.cat([weight.abs().flatten() for weight in weights.values()])


def at_or_above(weights: Weights, threshold: Tensor) -> Masks:
    """Masks by a threshold: too many where magnitudes tie with it."""
    return {name: weight.abs() >= threshold for name, weight in weights.items()}


def by_sort(weights: Weights, num_kept: int) -> Masks:
    """torch.sort, then a threshold."""
    return at_or_above(weights, magnitudes(weights).sort(descending=True).values[num_kept - 1])


def by_kthvalue(weights: Weights, num_kept: int) -> Masks:
    """torch.kthvalue, then a threshold."""
    values = magnitudes(weights)
    return at_or_above(weights, values.kthvalue(values.numel() - num_kept + 1).values)


def by_topk(weights: Weights, num_kept: int) -> Masks:
    """torch.topk, then its indices: exact, ties settled in no stated order."""
    values = magnitudes(weights)
    chosen = torch.topk(values, num_kept, sorted=False).indices
    flat = torch.zeros_like(values, dtype=torch.bool).index_fill_(0, chosen, True)
    pieces = flat.split([weight.numel() for weight in weights.values()])
    return {
        name: piece.view(weight.shape)
        for (name, weight), piece in zip(weights.items(), pieces, strict=True)
    }


MASKS: dict[str, Callable[[Weights, int], Masks]] = {
    PRUNE: ours,
    "torch.sort": by_sort,
    "torch.topk": by_topk,
    "torch.kthvalue": by_kthvalue,
}


def verified(weights: Weights, num_kept: int) -> list[str]:
    """One line per way of torch: do its masks equal ours, but for ties at the threshold?

    Raises AssertionError if our own count is wrong.
    """
    mine = ours(weights, num_kept)
    assert count(mine) == num_kept
    assert allocate.globally(scores.magnitude(weights, {}, None), num_kept) == {
        name: int(mask.sum()) for name, mask in mine.items()
    }
    threshold = torch.stack([weights[n].abs()[m].min() for n, m in mine.items() if m.any()]).min()
    lines = [f"- ours keeps exactly {num_kept:,}; `allocate.globally` counts the same per layer"]
    for name, way in MASKS.items():
        if name != PRUNE:
            result = compared(weights, mine, way(weights, num_kept), threshold)
            lines.append(f"- {name} {result}")
    return lines


def compared(weights: Weights, mine: Masks, theirs: Masks, threshold: Tensor) -> str:
    """How `theirs` differs from `mine`; AssertionError if it does so other than in ties."""
    differing = {name: mask ^ theirs[name] for name, mask in mine.items()}
    for name, where in differing.items():
        assert bool((weights[name].abs()[where] == threshold).all())
    return f"keeps {count(theirs):,}; {count(differing)} entries differ, all of them ties"


def count(masks: Mapping[str, Tensor]) -> int:
    """True entries of all masks."""
    return sum(int(mask.sum()) for mask in masks.values())


def measure(name: str, model: Model, options: timing.Options) -> list[str]:
    """Verification, table and verdicts of one model."""
    weights = weights_like(model)
    size = sum(weight.numel() for weight in weights.values())
    num_kept = budget(size, SPARSITY)
    checks = verified(weights, num_kept)
    works = {way: partial(masks, weights, num_kept) for way, masks in MASKS.items()}
    works[GLOBALLY] = lambda: allocate.globally(scores.magnitude(weights, {}, None), num_kept)
    ways = {way: timing.timed(work, options.clock) for way, work in works.items()}
    times = timing.interleave(ways, rounds=options.rounds)
    verdicts = [
        timing.at_most(f"prune() / {way}", timing.paired(times, PRUNE, way), 1.0)
        for way in MASKS
        if way != PRUNE
    ]
    alone = timing.spread(times[GLOBALLY])
    verdicts.append(timing.at_most("seconds of allocate.globally", alone, GLOBALLY_SECONDS))
    return [
        f"### {name}, {size:,} weights, {num_kept:,} kept",
        timing.markdown(timing.HEAD, timing.rows(times, base=PRUNE)),
        "\n".join(verdicts + checks),
    ]


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure every model."""
    options = timing.read_options(__doc__ or "", arguments, rounds=7, clocks=("wall", "cpu"))
    models = QUICK if options.quick else MODELS
    parts = [part for name in models for part in measure(name, models[name], options)]
    introduction = "From weights to masks (alone: to counts per layer); ratios to our prune()."
    timing.report("Global magnitude selection", [introduction, *parts], options)
    return 0


if __name__ == "__main__":
    sys.exit(main())
