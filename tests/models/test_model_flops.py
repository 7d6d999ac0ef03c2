"""Floating-point operations, against counts made by hand."""

import copy

import pytest
import torch
from torch import nn

from sparsekit.models.cifar_resnet import cifar_resnet
from sparsekit.models.flops import Flops, flops
from sparsekit.models.lenet import lenet_300_100
from sparsekit.models.prunable import prunable
from sparsekit.models.torchvision_models import resnet50, vit_b_16


def costs(counted: Flops) -> dict[str, int]:
    """The weights that cost anything."""
    return {name: count for name, count in counted.per_weight.items() if count}


def test_lenet_300_100():
    counted = flops(lenet_300_100((1, 28, 28), 10), (1, 28, 28))
    assert costs(counted) == {"1.weight": 470_400, "3.weight": 60_000, "5.weight": 2_000}
    assert counted.other == 0
    assert counted.total({}) == 532_400


def test_resnet20():
    # Multiplications: stem, three stages, two projections, classifier.
    stem, wide, narrow = 3 * 16 * 9 * 32**2, 6 * 16 * 16 * 9 * 32**2, 5 * 64 * 64 * 9 * 8**2
    halved = 16 * 32 * 9 * 16**2 + 16 * 32 * 16**2
    by_hand = stem + wide + 2 * narrow + 2 * halved + 640
    counted = flops(cifar_resnet((3, 32, 32), 10), (3, 32, 32))
    assert counted.total({}) == 2 * by_hand == 81_626_368
    assert counted.per_weight["blocks.3.shortcut.0.weight"] == 2 * 16 * 32 * 16**2


def test_resnet50_and_vit_have_the_published_cost():
    with torch.device("meta"):
        resnet, vit = resnet50((3, 224, 224), 1000), vit_b_16((3, 224, 224), 1000)
    resnet, vit = resnet.to_empty(device="cpu"), vit.to_empty(device="cpu")
    assert flops(resnet, (3, 224, 224)).total({}) == 2 * 4_089_184_256
    counted = flops(vit, (3, 224, 224))
    assert counted.per_weight["encoder.layers.encoder_layer_0.self_attention.in_proj_weight"] == (
        2 * 2304 * 768 * 197
    )
    # Queries with keys, then attention with values, in 12 layers.
    assert counted.other == 12 * 2 * 2 * 197 * 197 * 768
    assert counted.total({}) == 35_127_656_448


def test_strided_grouped_and_transposed_convolutions():
    model = nn.Sequential(
        nn.Conv2d(4, 8, 3, stride=2, padding=1, groups=2), nn.ConvTranspose2d(8, 2, 2, stride=2)
    )
    counted = flops(model, (4, 10, 6))
    assert costs(counted) == {
        "0.weight": 2 * (8 * 2 * 9) * (5 * 3),
        "1.weight": 2 * (8 * 2 * 4) * (5 * 3),
    }
    assert counted.other == 0


def test_layer_called_twice_counts_twice_and_linear_counts_tokens():
    layer = nn.Linear(6, 6)
    counted = flops(nn.Sequential(layer, layer), (3, 5, 6))
    assert costs(counted) == {"0.weight": 2 * 2 * 36 * 15}


class CrossAttention(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(8, 2, kdim=4, vdim=4, batch_first=True)
        self.unused = nn.Linear(3, 3)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        tokens = images.flatten(2).mT
        query = tokens.repeat(1, 1, 2)[:, :5]
        return self.attention(query, key=tokens, value=tokens, need_weights=False)[0]


def test_cross_attention_with_its_own_sizes():
    counted = flops(CrossAttention(), (4, 3, 3))
    assert costs(counted) == {
        "attention.q_proj_weight": 2 * 64 * 5,
        "attention.k_proj_weight": 2 * 32 * 9,
        "attention.v_proj_weight": 2 * 32 * 9,
        "attention.out_proj.weight": 2 * 64 * 5,
    }
    assert counted.other == 2 * 2 * 5 * 9 * 8


def test_total_scales_each_weight_by_its_density():
    counted = flops(lenet_300_100((1, 28, 28), 10), (1, 28, 28))
    assert counted.total({"1.weight": 0.1, "3.weight": 0.0}) == pytest.approx(47_040 + 2_000)
    with pytest.raises(ValueError, match=r"2\.weight; there are: 1\.weight"):
        counted.total({"2.weight": 0.5})


def test_every_parameter_is_known_and_exactly_the_prunable_ones_cost_something():
    model = cifar_resnet((3, 8, 8), 10, depth=8)
    counted = flops(model, (3, 8, 8))
    assert list(counted.per_weight) == [name for name, _ in model.named_parameters()]
    assert tuple(costs(counted)) == prunable(model)
    assert counted.total({"bn.weight": 0.0}) == counted.total({})


def test_model_is_left_as_it_was():
    model = cifar_resnet((3, 32, 32), 10, depth=8).double().train()
    before = copy.deepcopy(model.state_dict())
    random_state = torch.get_rng_state()
    fast_attention = torch.backends.mha.get_fastpath_enabled()
    flops(model, (3, 32, 32))
    assert all(module.training for module in model.modules())
    assert not any(module._forward_hooks for module in model.modules())
    after = model.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert torch.equal(random_state, torch.get_rng_state())
    assert torch.backends.mha.get_fastpath_enabled() == fast_attention
