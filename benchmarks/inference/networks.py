"""Whole networks: ResNet-50 with unstructured masks, ViT-B/16 with constant fan-in."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from benchmarks import timing
from benchmarks.inference.cases import constant_mask, differing_mask
from sparsekit.bench import writing
from sparsekit.bench.comparing import Compared, compare
from sparsekit.bench.ways import BASELINES, OURS, Subject
from sparsekit.models.cifar_resnet import cifar_resnet
from sparsekit.models.prunable import prunable
from sparsekit.models.torchvision_models import resnet50, vit_b_16

NUM_CLASSES = 1000
NOTE = """\
Random weights; masks are random and each layer has the same sparsity. ResNet-50: unstructured, by
magnitude with unequal scales of rows and columns, its stem dense; statistics of its norms are those
of two random batches. ViT-B/16: as many weights in each row, patch embedding and head dense."""


@dataclass(frozen=True)
class Kind:
    """A network, how its masks are drawn, which weights stay dense, and what is aimed at."""

    build: Callable[[tuple[int, int, int], int], nn.Module]
    size: int
    mask: Callable[[int, int, float], Tensor]
    dense: tuple[str, ...]
    aims: Mapping[tuple[float, int], float]


KINDS = {
    "ResNet-50": Kind(
        build=resnet50,
        size=224,
        mask=differing_mask,
        dense=("conv1.weight",),
        aims={(0.9, 1): 1.4, (0.95, 1): 1.5, (0.9, 16): 2.6, (0.95, 16): 4.2},
    ),
    "ViT-B/16": Kind(
        build=vit_b_16,
        size=224,
        mask=constant_mask,
        dense=("conv_proj.weight", "heads.head.weight"),
        aims={(0.9, 1): 2.0, (0.95, 1): 3.0},
    ),
}
QUICK = {
    "ResNet-20": Kind(cifar_resnet, 32, differing_mask, ("conv.weight",), aims={(0.9, 1): 1.4})
}


def sections(options: timing.Options) -> list[str]:
    """One table for each network and sparsity."""
    parts = [NOTE, *writing.NOTES]
    for name, kind in (QUICK if options.quick else KINDS).items():
        for sparsity in (0.9,) if options.quick else (0.9, 0.95):
            parts += _section(name, kind, sparsity, options)
    return parts


def _section(name: str, kind: Kind, sparsity: float, options: timing.Options) -> list[str]:
    model, masks = masked(kind, sparsity)
    against = ("eager", "csr") if options.quick else tuple(BASELINES)
    results = []
    for batch_size in (1,) if options.quick else (1, 16):
        inputs = torch.randn(batch_size, 3, kind.size, kind.size)
        subject = Subject(model, model, masks, inputs, torch.float32, options.threads)
        results.append(compare(subject, against, rounds=options.rounds))
    aims = [line for one in results for line in _aim(one, kind, sparsity)]
    lines = [f"- {line}" for line in (*writing.lines(results), *aims)]
    title = f"### {name}, {sparsity:.0%}"
    return [title, writing.table(results, timing.markdown), "\n".join(lines)]


def _aim(one: Compared, kind: Kind, sparsity: float) -> list[str]:
    ratio, aim = one.speedup(OURS), kind.aims.get((sparsity, one.batch_size))
    if ratio is None or aim is None:
        return []
    said = "reached" if ratio.median >= aim else "MISSED"
    return [f"Batch {one.batch_size}: aim {aim:g}, {ratio.median:.2f}: **{said}**"]


def masked(kind: Kind, sparsity: float) -> tuple[nn.Module, dict[str, Tensor]]:
    """A network with random weights, 0 where its random masks are False, and these."""
    torch.manual_seed(0)
    model = kind.build((3, kind.size, kind.size), NUM_CLASSES)
    masks = {
        name: kind.mask(len(weight), weight[0].numel(), sparsity).view(weight.shape)
        for name, weight in ((name, model.get_parameter(name)) for name in prunable(model))
        if name not in kind.dense
    }
    with torch.no_grad():
        for name, mask in masks.items():
            model.get_parameter(name).mul_(mask)
        _settle_norms_(model, kind.size)
    return model.eval().requires_grad_(False), masks


def _settle_norms_(model: nn.Module, size: int) -> None:
    """Let norms see random images: outputs of pruned layers would shrink from layer to layer."""
    norms = [one for one in model.modules() if isinstance(one, nn.BatchNorm2d)]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None
    model.train()
    for _ in range(2 if norms else 0):
        model(torch.randn(4, 3, size, size))
