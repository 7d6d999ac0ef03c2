"""Attention layers of torchvision and timm under SRigL: stacked projections and the rest."""

from __future__ import annotations

from functools import partial

import pytest
import timm
import torch
from torch import nn
from torchvision.models import VisionTransformer

from sparsekit.core import allocate, patterns, scores
from sparsekit.core.movers import Rewire
from sparsekit.core.prune import prune
from sparsekit.core.rules import srigl_rule
from sparsekit.core.structure import structure
from sparsekit.models.prunable import prunable


def of_torchvision() -> nn.Module:
    return VisionTransformer(
        8, 4, num_layers=2, num_heads=2, hidden_dim=16, mlp_dim=32, num_classes=5
    )


def of_timm() -> nn.Module:
    settings = {"img_size": 8, "patch_size": 4, "embed_dim": 16, "depth": 2, "num_heads": 2}
    return timm.create_model("vit_tiny_patch16_224", num_classes=5, **settings)


@pytest.mark.parametrize(
    ("build", "stacked", "last"),
    [
        (of_torchvision, "self_attention.in_proj_weight", "heads.head.weight"),
        (of_timm, "attn.qkv.weight", "head.weight"),
    ],
)
def test_srigl_moves_every_layer_of_a_transformer(build, stacked: str, last: str) -> None:
    torch.manual_seed(0)
    model = build()
    parameters = dict(model.named_parameters())
    weights = {name: parameters[name].detach() for name in prunable(model)}
    assert sum(name.endswith(stacked) for name in weights) == 2
    assert list(weights)[-1] == last
    assert len(weights) == 1 + 2 * 4 + 1  # patches; two blocks of four; the classifier
    masks = prune(
        weights,
        {name: torch.ones_like(weight, dtype=torch.bool) for name, weight in weights.items()},
        None,
        num_kept=sum(weight.numel() for weight in weights.values()) // 4,
        score=partial(scores.random, seed=0),
        allocate=partial(allocate.in_whole_rows, allocate=allocate.uniform),
        pattern=patterns.constant_fan_in,
    )
    for name, mask in masks.items():
        parameters[name].data.mul_(mask)
    logits = model(torch.randn(16, 3, 8, 8))
    nn.functional.cross_entropy(logits, torch.arange(16) % 5).backward()
    gradients = {name: parameters[name].grad for name in masks}
    mover = Rewire(
        rule=partial(srigl_rule, gamma_sal=0.95), last=partial(srigl_rule, gamma_sal=0), interval=1
    )
    moved = mover.move(10, weights, gradients, masks, 100)
    assert moved is not None
    layers = structure(moved)
    for name, layer in layers.items():
        assert not torch.equal(moved[name], masks[name]), name
        fewest, most = layer["fan_in"]
        assert fewest == most, "constant fan-in"
    assert layers[last]["active_neurons"] == 5
    ablated = [name for name, layer in layers.items() if layer["active_neurons"] < layer["neurons"]]
    assert any(name.endswith(stacked) for name in ablated)
