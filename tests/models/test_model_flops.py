"""Floating-point operations, against counts made by hand."""

import copy
from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils import parametrizations

from sparsekit.models.applied import check_masks_apply
from sparsekit.models.cifar_resnet import cifar_resnet
from sparsekit.models.examples import materialise_
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


class Uses(nn.Module):
    """A matrix of a linear layer, [6, 4], used in one of many ways."""

    def __init__(self, use: Callable[[Tensor, Tensor], Tensor]) -> None:
        super().__init__()
        self.layer = nn.Linear(4, 6)
        self.use = use

    def forward(self, x: Tensor) -> Tensor:
        return self.use(x, self.layer.weight)


@pytest.mark.parametrize(
    "use",
    [
        F.linear,
        lambda x, w: x @ w.T,
        lambda x, w: torch.einsum("bti,oi->bto", x, w),
        lambda x, w: (w @ x.mT).mT,
        lambda x, w: torch.cat([F.linear(x, w[:2]), F.linear(x, w[2:])], dim=-1),
        lambda x, w: F.linear(x, torch.cat([w[:2], w[2:]])),
        lambda x, w: F.linear(x, w * 0.5),
        lambda x, w: F.conv1d(x.mT, w.unsqueeze(-1)),
        lambda x, w: torch.bmm(x, w.T.expand(len(x), 4, 6)),
        lambda x, w: torch.stack([torch.mv(w, token) for token in x[0]]),
        lambda x, w: F.linear(x, F.normalize(w)),
        lambda x, w: F.linear(x.double(), w.double()),
        lambda x, w: torch.zeros(1, 5, 6).index_add(0, torch.tensor([0]), F.linear(x, w)),
    ],
)
def test_a_weight_costs_the_same_however_it_is_used(use):
    counted = flops(Uses(use), torch.ones(1, 5, 4))
    assert costs(counted) == {"layer.weight": 2 * 24 * 5}
    assert (counted.other, counted.unknown) == (0, {})


@pytest.mark.parametrize(
    "use", [lambda x, w: (x.unsqueeze(2) * w).sum(-1), lambda x, w: torch.cdist(x[0], w)]
)
def test_what_is_not_counted_is_named(use):
    counted = flops(Uses(use), torch.ones(1, 5, 4))
    assert costs(counted) == {}
    assert counted.unknown.keys() == {"layer.weight"}


def test_positions_gates_and_embeddings_are_neither_counted_nor_unknown():
    class Tokens(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embed = nn.Embedding(9, 4)
            self.position = nn.Parameter(torch.zeros(1, 5, 4))
            self.scale = nn.Parameter(torch.ones(4))
            self.head = nn.Linear(4, 9, bias=False)
            self.head.weight = self.embed.weight

        def forward(self, tokens: Tensor) -> Tensor:
            return self.head((self.embed(tokens) + self.position) * self.scale)

    counted = flops(Tokens(), torch.zeros(1, 5, dtype=torch.int64))
    assert costs(counted) == {"embed.weight": 2 * 36 * 5}
    assert counted.unknown == {}


@pytest.mark.parametrize("layer", [nn.LSTM, nn.GRU, nn.RNN])
@pytest.mark.parametrize("options", [{}, {"bidirectional": True, "num_layers": 2}])
def test_recurrent_layers_use_each_matrix_once_per_token(layer, options):
    model = layer(4, 8, batch_first=True, **options)
    expected = {n: 2 * 5 * p.numel() for n, p in model.named_parameters() if "weight" in n}
    counted = flops(model, torch.ones(1, 5, 4))
    assert costs(counted) == expected
    assert (counted.other, counted.unknown) == (0, {})


@pytest.mark.parametrize(
    ("change", "name"),
    [
        (parametrizations.weight_norm, "parametrizations.weight.original1"),
        (parametrizations.spectral_norm, "parametrizations.weight.original"),
        (nn.utils.weight_norm, "weight_v"),
        (nn.utils.spectral_norm, "weight_orig"),
    ],
)
def test_layers_that_compute_their_weight(change, name):
    model = change(nn.Conv2d(3, 8, 3)).train()
    before = {key: value.clone() for key, value in model.state_dict().items()}
    assert costs(flops(model, (3, 4, 4))) == {name: 2 * 8 * 27 * 4}
    assert model.training
    assert all(torch.equal(before[key], value) for key, value in model.state_dict().items())
    model(torch.ones(1, 3, 4, 4)).sum().backward()
    assert model.get_parameter(name).grad is not None


def test_a_learnable_query_is_projected_by_the_layer_it_is_handed_to():
    class Pool(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.query = nn.Parameter(torch.ones(1, 1, 8))
            self.attention = nn.MultiheadAttention(8, 2, batch_first=True)

        def forward(self, tokens: Tensor) -> Tensor:
            return self.attention(self.query.expand(len(tokens), -1, -1), tokens, tokens)[0]

    counted = flops(Pool(), torch.ones(1, 5, 8))
    assert costs(counted) == {
        "attention.in_proj_weight": 2 * 64 * (1 + 5 + 5),
        "attention.out_proj.weight": 2 * 64,
    }
    assert counted.other == 2 * 2 * 5 * 8
    assert counted.unknown == {}


def test_low_rank_factors_cost_what_they_cost_and_their_product_is_dense():
    class LowRank(nn.Module):
        def __init__(self, *, composed: bool) -> None:
            super().__init__()
            self.left, self.right = nn.Parameter(torch.ones(6, 2)), nn.Parameter(torch.ones(2, 4))
            self.composed = composed

        def forward(self, x: Tensor) -> Tensor:
            if self.composed:
                return F.linear(x, self.left @ self.right)
            return x @ self.right.T @ self.left.T

    apart = flops(LowRank(composed=False), torch.ones(1, 5, 4))
    assert costs(apart) == {"left": 2 * 12 * 5, "right": 2 * 8 * 5}
    composed = flops(LowRank(composed=True), torch.ones(1, 5, 4))
    assert composed.total({}) == 2 * 6 * 2 * 4 + 2 * 24 * 5
    assert composed.other == 2 * 24 * 5


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
def test_other_types_of_numbers(dtype):
    model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.Flatten(), nn.Linear(32, 2)).to(dtype)
    expected = {"0.weight": 2 * 216 * 4, "2.weight": 2 * 64}
    assert costs(flops(model, (3, 4, 4))) == expected
    assert costs(flops(model, torch.ones(1, 3, 4, 4))) == expected


def test_several_inputs_as_tuple_and_as_dict():
    class Two(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(4, 2)

        def forward(self, values: Tensor, index: Tensor) -> Tensor:
            return self.layer(values[:, index[0]])

    values, index = torch.ones(1, 5, 4), torch.tensor([[0, 3]])
    assert costs(flops(Two(), (values, index))) == {"layer.weight": 2 * 8 * 2}
    assert costs(flops(Two(), {"index": index, "values": values})) == {"layer.weight": 2 * 8 * 2}
    with pytest.raises(ValueError, match="batch of one example, got 3"):
        flops(Two(), (values.expand(3, 5, 4), index.expand(3, 2)))


def test_a_count_leaves_attributes_and_extra_state_alone():
    class Counting(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(4, 2)
            self.register_buffer("seen", torch.zeros(()))
            self.calls = 0

        def forward(self, x: Tensor) -> Tensor:
            self.calls += 1
            self.seen += 1
            self.last = x
            self.layer.weight.data.mul_(0.5)
            return self.layer(x)

    model = Counting()
    before = model.layer.weight.clone()
    assert flops(model, torch.ones(1, 4)).total({}) == 16
    assert (model.calls, float(model.seen), "last" in vars(model)) == (0, 0.0, False)
    assert torch.equal(model.layer.weight, before)


def test_layers_without_shapes_are_refused_until_they_have_some():
    model = nn.Sequential(nn.Flatten(), nn.LazyLinear(4))
    with pytest.raises(ValueError, match="materialise_"):
        flops(model, (1, 2, 2))
    materialise_(model, (1, 2, 2))
    assert costs(flops(model, (1, 2, 2))) == {"1.weight": 2 * 16}


class Everything(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 16, 3, padding=1)
        self.rows = nn.LSTM(16, 16, num_layers=2, bidirectional=True, batch_first=True)
        self.gates = nn.GRU(32, 16, batch_first=True)
        self.attention = nn.MultiheadAttention(16, 2, batch_first=True)
        self.head = parametrizations.spectral_norm(nn.Linear(16, 4))

    def forward(self, images: Tensor) -> Tensor:
        tokens = self.stem(images).flatten(2).mT
        tokens = self.gates(self.rows(tokens)[0])[0]
        return self.head(self.attention(tokens, tokens, tokens)[0].mean(1))


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_gpu_counts_and_checks_what_a_cpu_does(dtype):
    model = Everything()
    expected = flops(model, (3, 8, 8))
    masks = {n: torch.ones(model.get_parameter(n).shape, dtype=torch.bool) for n in prunable(model)}
    model = model.to("cuda", dtype)
    assert flops(model, (3, 8, 8)) == expected
    assert prunable(model, (3, 8, 8), keep_head=True) == tuple(masks)[:-1]
    check_masks_apply(model, masks, (3, 8, 8))
