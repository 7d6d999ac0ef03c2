"""Conversion by literal networks: what is folded, what stays, what is refused, and the choice."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from torch import nn

from sparsekit.exports import convert as converting
from sparsekit.exports.convert import convert, convert_stored
from sparsekit.models.lenet import mlp
from sparsekit.store.identity import Stage
from sparsekit.store.store import Store
from sparsekit.store.tensors import save_network
from tests.networks.networks import drawn_state, masks_with_empty_rows, network, outputs


def ops(conversion):
    return [node.op for node in conversion.graph.nodes]


def masked(model, masks):
    """Return the outputs of `model` on inputs, its weights 0 where the masks say so, in float64."""
    state = {
        name: torch.where(masks[name], tensor, 0.0) if name in masks else tensor
        for name, tensor in model.state_dict().items()
    }
    model.load_state_dict(state)
    return model.eval()


class Residual(nn.Module):
    """Two padded convolutions with BatchNorm around a residual, ReLU behind each."""

    def __init__(self):
        super().__init__()
        self.first = nn.Conv2d(2, 3, 3, padding=1)
        self.norm = nn.BatchNorm2d(3)
        self.second = nn.Conv2d(3, 2, 3, padding=1, bias=False)
        self.again = nn.BatchNorm2d(2)

    def forward(self, x):
        out = self.norm(self.first(x)).relu()
        return (x + self.again(self.second(out))).relu()


def test_ablated_rows_keep_their_constants_before_norm_relu_padding_and_residual():
    torch.manual_seed(0)
    model = Residual()
    for norm in (model.norm, model.again):
        norm.running_mean.uniform_(-1, 1)
        norm.running_var.uniform_(0.5, 2)
        nn.init.uniform_(norm.bias, 0.5, 1)
    nn.init.uniform_(model.first.bias, 0.5, 1)
    masks = {
        f"{name}.weight": torch.rand(getattr(model, name).weight.shape) < 0.4
        for name in ("first", "second")
    }
    masks["first.weight"][1] = False
    masks["second.weight"][0] = False
    x = torch.randn(3, 2, 5, 5)
    found = convert(model, masks, x, choose="sparse")
    assert ops(found) == ["sparse_conv2d", "sparse_conv2d"]
    assert [node.arguments["activation"] for node in found.graph.nodes] == ["relu", "relu"]
    assert found.graph.nodes[1].arguments["residual"] is not None
    assert [found.graph.weights[name].mask().tolist() for name in masks] == [
        mask.flatten(1).tolist() for mask in masks.values()
    ]
    torch.testing.assert_close(found.network()(x), masked(model, masks)(x))


def test_what_is_kept_is_what_the_mask_says():
    model = nn.Sequential(nn.Linear(4, 2))
    with torch.no_grad():
        model[0].weight.copy_(torch.tensor([[1.0, -1, 0, 0], [0.0, 5, 7, 0]]))
    mask = torch.tensor([[1, 1, 0, 0], [1, 1, 0, 0]], dtype=torch.bool)
    found = convert(model, {"0.weight": mask}, torch.randn(2, 4), choose="sparse")
    (rows,) = found.graph.weights.values()
    assert rows.values.tolist() == [1, -1, 0, 5]
    assert found.layers[0].fan_in == 2
    assert found.layers[0].density == 0.5


def test_layers_that_are_read_twice_are_not_fused_and_tied_weights_are_stored_once():
    class Twice(nn.Module):
        def __init__(self):
            super().__init__()
            self.one, self.two = nn.Linear(4, 4), nn.Linear(4, 4)
            self.two.weight = self.one.weight

        def forward(self, x):
            inner = self.one(x)
            return {"relu": inner.relu(), "sum": self.two(inner) + inner, "none": None}

    model = Twice()
    mask = torch.eye(4, dtype=torch.bool)
    found = convert(model, {"two.weight": mask}, torch.randn(2, 4), choose="sparse")
    assert ops(found) == ["sparse_linear", "aten.relu.default", "sparse_linear"]
    assert len(found.graph.weights) == 1
    x = torch.randn(5, 4)
    expected, given = masked(model, {"one.weight": mask, "two.weight": mask})(x), found.network()(x)
    torch.testing.assert_close(given, expected)


def test_packed_and_split_projections_of_attention_are_sparse():
    class Cross(nn.Module):
        def __init__(self):
            super().__init__()
            self.attention = nn.MultiheadAttention(8, 2, batch_first=True)

        def forward(self, x):
            others = x[:, :2]
            return self.attention(x, others, others)[0]

    model = Cross()
    nn.init.normal_(model.attention.in_proj_bias)
    masks = {"attention.in_proj_weight": torch.rand(24, 8) < 0.5}
    masks["attention.in_proj_weight"][0] = False
    x = torch.randn(2, 3, 8)
    found = convert(model, masks, x, choose="sparse")
    assert ops(found).count("sparse_linear") == 2  # queries; keys and values
    torch.testing.assert_close(found.network()(x), masked(model, masks)(x))


def test_padding_by_a_word_becomes_numbers():
    same = nn.Conv2d(2, 3, 3, padding="same", dilation=2)
    model = nn.Sequential(same, nn.BatchNorm2d(3), nn.Conv2d(3, 2, 2, padding="same"))
    masks = {f"{at}.weight": torch.rand(model[at].weight.shape) < 0.5 for at in (0, 2)}
    x = torch.randn(2, 2, 7, 6)
    found = convert(model, masks, x, choose="sparse")
    assert ops(found) == ["sparse_conv2d", "aten.conv2d.padding"]  # an even kernel stays dense
    torch.testing.assert_close(found.network()(x), masked(model, masks)(x))


def test_norms_that_cannot_be_folded_become_a_factor_and_a_summand():
    model = nn.Sequential(nn.BatchNorm1d(4), nn.ReLU(), nn.Linear(4, 2))
    model[0].running_mean.uniform_(-1, 1)
    x = torch.randn(3, 4)
    found = convert(model, {}, x)
    assert ops(found) == ["affine", "linear"]
    torch.testing.assert_close(found.network()(x), model.eval()(x))


def test_weights_that_are_computed_are_constants():
    model = nn.Sequential(nn.utils.parametrizations.weight_norm(nn.Linear(4, 2)), nn.Dropout())
    found = convert(model, {}, torch.randn(3, 4))
    assert ops(found) == ["linear"]
    assert len(found.graph.tensors) == 2


def test_a_batch_size_that_is_written_in_the_model_stays():
    class Fixed(nn.Module):
        def forward(self, x):
            return x.reshape(12).relu()

    found = convert(Fixed(), {}, torch.randn(3, 4))
    assert not found.takes_any_batch
    assert found.graph.inputs[0].shape == (3, 4)
    assert convert(nn.ReLU(), {}, torch.randn(1, 4)).takes_any_batch


def test_measured_layers_say_what_each_kind_took():
    model = nn.Sequential(nn.Linear(16, 8), nn.ReLU(), nn.Linear(8, 2))
    masks = {"0.weight": torch.rand(8, 16) < 0.2, "2.weight": torch.ones(2, 8, dtype=torch.bool)}
    found = convert(model, masks, torch.randn(2, 16))
    first, last = found.layers
    assert set(first.seconds) == {"linear", "sparse_linear", "csr_linear"}
    assert first.seconds[first.kind] == min(first.seconds.values())
    assert (last.kind, last.density, last.seconds) == ("linear", 1.0, {})
    assert [
        layer.kind for layer in convert(model, masks, torch.randn(2, 16), choose="dense").layers
    ] == ["linear", "linear"]


def test_values_stored_in_bfloat16():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 8))
    masks = {"0.weight": torch.rand(32, 64) < 0.3}
    inputs = torch.randn(4, 64)
    settings = {"choose": "sparse", "dtype": torch.bfloat16}
    found = convert(model, masks, inputs, **settings)
    assert found.graph.weights["0.weight"].values.dtype == torch.bfloat16
    assert 0 < found.difference < 2e-2
    with pytest.raises(ValueError, match="of its layers 0 differs most"):
        convert(model, masks, inputs, **settings, tolerance=1e-6)


class Counting(nn.Module):
    def __init__(self):
        super().__init__()
        self.register_buffer("count", torch.zeros(()))

    def forward(self, x):
        self.count += 1
        return x * self.count


class Branching(nn.Module):
    def forward(self, x):
        return x if x.sum() > 0 else -x


class Sorting(nn.Module):
    def forward(self, x):
        return x.sort().values


class Noisy(nn.Module):
    def forward(self, x):
        return x + torch.randn(4)


REFUSED = {
    "counting": (Counting, "changes count"),
    "branching": (Branching, "Branching cannot be captured: Could not guard"),
    "sorting": (Sorting, r"uses aten.sort.default"),
    "noisy": (Noisy, r"uses aten.randn.default"),
    "double": (lambda: nn.Linear(4, 4).double(), r"weight is torch.float64"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refused_models(case):
    build, message = REFUSED[case]
    with pytest.raises(ValueError, match=message):
        convert(build(), {}, torch.ones(2, 4))


def test_refused_arguments():
    model, x = nn.Linear(4, 2), torch.ones(2, 4)
    with pytest.raises(ValueError, match="mask for bogus, but no such parameter"):
        convert(model, {"bogus": torch.ones(1, dtype=torch.bool)}, x)
    with pytest.raises(ValueError, match=r"mask of weight must be boolean \[2, 4\]"):
        convert(model, {"weight": torch.ones(2, 4)}, x)
    with pytest.raises(ValueError, match="choose must be one of measured, sparse, dense"):
        convert(model, {}, x, choose="fastest")
    with pytest.raises(ValueError, match=r"dtype must be one of .*float16"):
        convert(model, {}, x, dtype=torch.float16)


def test_a_mistake_in_a_layer_is_found_and_named(monkeypatch):
    model = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 2))
    masks = {f"{at}.weight": torch.rand(model[at].weight.shape) < 0.5 for at in (0, 1)}
    right = converting.chosen

    def wrong(*arguments, **settings):
        graph, layers = right(*arguments, **settings)
        rows = graph.weights["1.weight"]
        weights = {**graph.weights, "1.weight": dataclasses.replace(rows, values=rows.values + 1)}
        return dataclasses.replace(graph, weights=weights), layers

    monkeypatch.setattr(converting, "chosen", wrong)
    with pytest.raises(ValueError, match="layers 1 differs most"):
        convert(model, masks, torch.randn(3, 4), choose="sparse")


def test_a_stored_network_loses_its_empty_neurons_first(tmp_path):
    of = network(mlp, 1, 8, 8)
    state, masks = drawn_state(of, shifts=True), masks_with_empty_rows(of)
    store = Store(tmp_path)
    key = store.ensure(
        Stage("ticket", {"network": of.record()}),
        lambda folder: save_network(folder, state=state, masks=masks, network=of.record()),
    )
    found = convert_stored(key, store=tmp_path, choose="sparse")
    assert found.layers[0].shape[0] < 64
    whole = convert_stored(key, store=tmp_path, choose="sparse", remove=False)
    assert whole.layers[0].shape == (64, 64)
    x = torch.randn(3, 1, 8, 8)
    for one in (found, whole):
        torch.testing.assert_close(
            one.network()(x).double(), outputs(of, state, masks, x), rtol=1e-4, atol=1e-5
        )
