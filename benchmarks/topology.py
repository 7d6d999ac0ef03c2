"""One topology update of all layers by our rules, against the same update written plainly.

`python -m benchmarks.topology` moves 30 % of the active weights of every prunable layer of
ResNet-50 (25.5 million weights) at 90 % sparsity (ERK; constant fan-in for SRigL) by `set_rule`,
`rigl_rule` and `srigl_rule`. Held against them are the argsort and the topk of a whole layer, for
SRigL followed by a loop over neurons in plain torch calls. SRigL runs without ablation, with
ablation where all rows are alike and none is ablated, and where rows differ in scale.

Magnitudes and gradients are normal, but each is replaced by its rank within its layer. Selection
sees only their order, and no two are equal: so all ways must return the same masks, bit for bit.
"""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Callable, Mapping, Sequence
from functools import partial

import torch
from torch import Tensor, nn

from benchmarks import timing
from benchmarks.selection import weights_like
from sparsekit.core import allocate, patterns, rules
from sparsekit.core.counts import budget
from sparsekit.core.types import Allocate, Pattern
from sparsekit.models.cifar_resnet import cifar_resnet
from sparsekit.models.torchvision_models import resnet50

SPARSITY, FRACTION, GAMMA_SAL = 0.9, 0.3, 0.3
SPREAD = 1.0  # of the logarithms of the rows' scales, where rows differ
RIGL_SECONDS, SRIGL_SECONDS = 0.3, 0.6
OURS = "ours"
Model = Callable[[tuple[int, int, int], int], nn.Module]
MODELS: dict[str, Model] = {"ResNet-50": resnet50}
QUICK: dict[str, Model] = {"ResNet-20": cifar_resnet}


@dataclasses.dataclass(frozen=True)
class Layer:
    """What a rule is given: weights that are 0 where pruned, dense gradients, the mask."""

    weight: Tensor
    gradient: Tensor
    mask: Tensor


@dataclasses.dataclass(frozen=True)
class Case:
    """Ways of one update, ours first, the layers to do it on, and the seconds it may take."""

    title: str
    ways: Mapping[str, rules.Rule]
    layers: Sequence[Layer]
    target: float


def sparse_layers(model: Model, pick: Allocate, pattern: Pattern, *, spread: float) -> list[Layer]:
    """Layers of the shapes of a model, sparse at random; rows scaled by exp(`spread` * normal)."""
    generator = torch.Generator().manual_seed(1)
    scores = weights_like(model)
    counts = pick(scores, budget(sum(s.numel() for s in scores.values()), SPARSITY))
    masks = {name: pattern(score, counts[name]) for name, score in scores.items()}
    return [_layer(mask, spread, generator) for mask in masks.values()]


def _layer(mask: Tensor, spread: float, generator: torch.Generator) -> Layer:
    weight, gradient = (_ranks(mask.shape, spread, generator) for _ in range(2))
    return Layer(weight * mask, gradient, mask)


def _ranks(shape: torch.Size, spread: float, generator: torch.Generator) -> Tensor:
    """Return 1 to numel, in the order of normal magnitudes whose rows differ in scale."""
    scale = (spread * torch.randn(shape[0], 1, generator=generator)).exp()
    values = scale * torch.randn(shape, generator=generator).flatten(1).abs()
    ranks = torch.arange(1.0, values.numel() + 1)
    return torch.empty_like(ranks).index_copy_(0, values.flatten().argsort(), ranks).view(shape)


def largest_by_argsort(values: Tensor, num: int) -> Tensor:
    """Mask of the `num` largest entries by a full sort."""
    chosen = values.flatten().argsort(descending=True, stable=True)[:num]
    return _mask(values, chosen)


def largest_by_topk(values: Tensor, num: int) -> Tensor:
    """Mask of the `num` largest entries by topk."""
    return _mask(values, values.flatten().topk(num, sorted=False).indices)


def _mask(values: Tensor, chosen: Tensor) -> Tensor:
    flat = torch.zeros(values.numel(), dtype=torch.bool)
    flat[chosen] = True
    return flat.view(values.shape)


Largest = Callable[[Tensor, int], Tensor]
STABLE: dict[str, Largest] = {"argsort of a layer": largest_by_argsort}
LARGEST: dict[str, Largest] = {**STABLE, "topk of a layer": largest_by_topk}


def set_plainly(
    weight: Tensor, gradient: Tensor, mask: Tensor, fraction: float, seed: int, *, largest: Largest
) -> Tensor:
    """SET over a whole layer; what it draws has ties, settled as ours by a stable sort alone."""
    drawn = torch.rand(weight.shape, generator=torch.Generator().manual_seed(seed))
    return rigl_plainly(weight, drawn, mask, fraction, seed, largest=largest)


def rigl_plainly(
    weight: Tensor, gradient: Tensor, mask: Tensor, fraction: float, seed: int, *, largest: Largest
) -> Tensor:
    """RigL over a whole layer, as algorithm 1 of its paper reads."""
    num_active = int(mask.sum())
    num_moved = int(fraction * num_active)
    if num_active == mask.numel():
        return mask
    kept = largest(torch.where(mask, weight.abs(), -1.0), num_active - num_moved)
    return kept | largest(torch.where(kept, -1.0, gradient.abs()), num_moved)


def srigl_plainly(
    weight: Tensor,
    gradient: Tensor,
    mask: Tensor,
    fraction: float,
    seed: int,
    *,
    gamma_sal: float,
    largest: Largest,
) -> Tensor:
    """SRigL: `largest` of a layer, then neuron by neuron; weights that are 0 count as pruned."""
    magnitude, growth = weight.flatten(1).abs(), gradient.flatten(1).abs()
    num_active = int(mask.sum())
    if num_active == mask.numel():
        return mask
    num_moved = int(fraction * num_active)
    num_keep = num_active - num_moved
    kept = largest(magnitude, num_keep)
    active = list(range(len(mask)))
    if gamma_sal > 0:
        active = _active(kept | largest(growth, num_moved), num_active, gamma_sal)
        barred = torch.full_like(magnitude, -1.0)
        barred[active] = magnitude[active]
        kept = largest(barred, min(num_keep, int((barred > 0).sum())))
    moved = torch.zeros_like(kept)
    for row in active:
        moved[row] = _filled(magnitude[row], growth[row], kept[row], num_active // len(active))
    return moved.view(mask.shape)


def _active(salient: Tensor, num_active: int, gamma_sal: float) -> list[int]:
    """Neurons with enough salient weights, one by one."""
    num_rows, row_size = salient.shape
    counts = [int(row.sum()) for row in salient]
    fewest = max(1, int(gamma_sal * (num_active // num_rows)))
    fewest = min(fewest, sorted(counts, reverse=True)[num_active // row_size])
    return [row for row, num in enumerate(counts) if num >= fewest]


def _filled(magnitude: Tensor, growth: Tensor, kept: Tensor, fan_in: int) -> Tensor:
    """One neuron: cut to the largest weights, or filled by the largest gradients."""
    missing = fan_in - int(kept.sum())
    if missing < 0:
        return largest_by_topk(torch.where(kept, magnitude, -1.0), fan_in)
    return kept | largest_by_topk(torch.where(kept, -1.0, growth), missing)


def update(rule: rules.Rule, layers: Sequence[Layer]) -> list[Tensor]:
    """New masks of all layers."""
    return [
        rule(layer.weight, layer.gradient, layer.mask, FRACTION, seed)
        for seed, layer in enumerate(layers)
    ]


def cases(model: Model) -> list[Case]:
    """What is measured on a model; layers are shared between cases that can."""
    free = sparse_layers(model, allocate.erk, patterns.unstructured, spread=0.0)
    whole = partial(allocate.in_whole_rows, allocate=allocate.erk)
    alike, differing = (
        sparse_layers(model, whole, patterns.constant_fan_in, spread=spread)
        for spread in (0.0, SPREAD)
    )
    by = {name: partial(rigl_plainly, largest=largest) for name, largest in LARGEST.items()}
    drawn = {name: partial(set_plainly, largest=largest) for name, largest in STABLE.items()}
    return [
        Case("SET", {OURS: rules.set_rule, **drawn}, free, RIGL_SECONDS),
        Case("RigL", {OURS: rules.rigl_rule, **by}, free, RIGL_SECONDS),
        srigl("SRigL without ablation", alike, gamma_sal=0.0),
        srigl(f"SRigL, gamma_sal {GAMMA_SAL}, rows alike", alike, gamma_sal=GAMMA_SAL),
        srigl(f"SRigL, gamma_sal {GAMMA_SAL}, rows differ", differing, gamma_sal=GAMMA_SAL),
    ]


def srigl(title: str, layers: Sequence[Layer], *, gamma_sal: float) -> Case:
    """Our SRigL and the loops over neurons."""
    ways: dict[str, rules.Rule] = {OURS: partial(rules.srigl_rule, gamma_sal=gamma_sal)}
    for name, largest in LARGEST.items():
        plain = partial(srigl_plainly, gamma_sal=gamma_sal, largest=largest)
        ways[f"{name}, loop over neurons"] = plain
    return Case(title, ways, layers, SRIGL_SECONDS)


def verified(case: Case) -> str:
    """What one update did; AssertionError unless all ways return the same masks."""
    before = [layer.mask.flatten(1) for layer in case.layers]
    mine = [mask.flatten(1) for mask in update(case.ways[OURS], case.layers)]
    for name, rule in case.ways.items():
        for ours, theirs in zip(mine, update(rule, case.layers), strict=True):
            assert torch.equal(ours, theirs.flatten(1)), name
    pairs = list(zip(before, mine, strict=True))
    grown = count([new & ~old for old, new in pairs])
    ablated = count([old.any(dim=1) & ~new.any(dim=1) for old, new in pairs])
    return (
        f"- the masks of all ways are equal, bit for bit: {count(before):,} active weights before, "
        f"{count(mine):,} after, {grown:,} of them new; {ablated:,} of "
        f"{sum(map(len, mine)):,} rows ablated"
    )


def measure(case: Case, options: timing.Options) -> list[str]:
    """Verification, table and verdict of one case."""
    check = verified(case)
    ways = {
        name: timing.timed(partial(update, rule, case.layers), options.clock)
        for name, rule in case.ways.items()
    }
    times = timing.interleave(ways, rounds=options.rounds)
    verdict = timing.at_most("seconds of ours", timing.spread(times[OURS]), case.target)
    ratios = [timing.paired(times, way, OURS) for way in case.ways]
    speed_ups = [
        f"- {way} / ours: {ratio.median:.3g} ({ratio.lowest:.3g} .. {ratio.highest:.3g})"
        for way, ratio in zip(case.ways, ratios, strict=True)
        if way != OURS
    ]
    return [
        f"### {case.title}",
        timing.markdown(timing.HEAD, timing.rows(times, base=OURS)),
        "\n".join([verdict, *speed_ups, check]),
    ]


def count(masks: Sequence[Tensor]) -> int:
    """True entries of all masks."""
    return sum(int(mask.sum()) for mask in masks)


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure every case."""
    options = timing.read_options(__doc__ or "", arguments, rounds=7, clocks=("wall", "cpu"))
    parts = []
    for name, model in (QUICK if options.quick else MODELS).items():
        built = cases(model)
        size = sum(layer.mask.numel() for layer in built[0].layers)
        parts.append(f"{name}, {len(built[0].layers)} layers, {size:,} weights; ratios to ours.")
        parts += [part for case in built for part in measure(case, options)]
    timing.report("MaskHistory updates", parts, options)
    return 0


if __name__ == "__main__":
    sys.exit(main())
