"""A new head on a network; what the number of outputs decides is found, whatever it is called."""

import dataclasses
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from sparsekit.models.cifar_resnet import cifar_resnet
from sparsekit.models.lenet import mlp
from sparsekit.networks.heads import head_names, new_head
from sparsekit.networks.network import network_of
from sparsekit.networks.removal import remove_masked_channels
from sparsekit.training.freezing import freeze_
from tests.networks.networks import drawn_state, masks_with_empty_rows, network


class TwoHeads(nn.Module):
    """Heads that are registered first."""

    def __init__(self, num_outputs: int) -> None:
        super().__init__()
        self.one, self.other = nn.Linear(8, num_outputs), nn.Linear(8, num_outputs, bias=False)
        self.body = nn.Linear(4, 8)

    def forward(self, x: Tensor) -> Tensor:
        return self.one(self.body(x)) + self.other(self.body(x))


def two_heads(input_shape: Any, num_outputs: int) -> nn.Module:
    return TwoHeads(num_outputs)


def headless(input_shape: Any, num_outputs: int) -> nn.Module:
    return nn.Linear(4, 4)


def test_heads_are_found_by_the_number_of_outputs() -> None:
    assert head_names(network(two_heads, 4)) == ("one.weight", "one.bias", "other.weight")
    assert head_names(network(cifar_resnet, 3, 8, 8, depth=8)) == ("fc.weight", "fc.bias")
    with pytest.raises(ValueError, match="no head to be found"):
        head_names(network(headless, 4))


def test_the_body_stays_and_the_head_is_drawn_under_the_seed() -> None:
    before = network(mlp, 1, 8, 8)
    state, masks = drawn_state(before, shifts=True), masks_with_empty_rows(before)
    after, new, kept = new_head(before, state, masks, None, num_outputs=3, seed=5)
    assert {n for n in new if not new[n].equal(state[n])} == {"5.weight", "5.bias"}
    assert new["5.weight"].shape == (3, 64)
    assert bool(kept["5.weight"].all())
    assert kept["1.weight"].equal(masks["1.weight"])
    assert network_of(after.record()).loaded(new).state_dict()["5.weight"].equal(new["5.weight"])
    assert after.seed == before.seed, "what the body draws at construction stays"
    _, other, _ = new_head(before, state, masks, None, num_outputs=3, seed=6)
    assert not other["5.weight"].equal(new["5.weight"])
    _, same, _ = new_head(before, state, masks, None, num_outputs=10, seed=5)
    assert not same["5.weight"].equal(state["5.weight"])


def test_behind_removed_channels_and_counted_from_the_original() -> None:
    before = network(mlp, 1, 8, 8)
    masks = masks_with_empty_rows(before)
    small = remove_masked_channels(before, drawn_state(before, shifts=True), masks, None)
    after, state, kept = new_head(*small, None, num_outputs=3, seed=5)
    assert state["5.weight"].shape == (3, small[1]["5.weight"].shape[1])
    assert after.loaded(state)(after.example()).shape == (1, 3)
    bare = dataclasses.replace(after, transforms=(), original=None)
    dense = {n: torch.ones(t.shape) for n, t in bare.build().named_parameters() if n in kept}
    assert after.original == bare.sizes(bare.build(), dense)


def test_patterns_name_what_is_replaced() -> None:
    before = network(mlp, 1, 8, 8)
    state, masks = drawn_state(before, shifts=True), masks_with_empty_rows(before)
    named = ["3.*", "5.*"]
    _, new, _ = new_head(before, state, masks, None, num_outputs=3, seed=5, head=named)
    assert not new["3.weight"].equal(state["3.weight"])
    with pytest.raises(ValueError, match=r"5.weight is \[3, 64\] .* not in the head"):
        new_head(before, state, masks, None, num_outputs=3, seed=5, head=["3.*"])
    with pytest.raises(ValueError, match=r"'fc.\*' matches none of 1.weight"):
        new_head(before, state, masks, None, num_outputs=3, seed=5, head=["fc.*"])


def test_frozen_layers_are_in_evaluation_mode() -> None:
    of = network(cifar_resnet, 3, 8, 8, depth=8)
    model = of.build()
    freeze_(model, of, "head")
    assert {n for n, p in model.named_parameters() if p.requires_grad} == {"fc.weight", "fc.bias"}
    assert {n for n, m in model.named_modules() if m.training} == {"fc"}
    freeze_(model, of, ["bn.*", "fc.*"])
    assert {n for n, m in model.named_modules() if m.training} == {"bn", "fc"}
    with pytest.raises(ValueError, match=r"'head.\*' matches none"):
        freeze_(model, of, ["head.*"])
    untouched = of.build()
    freeze_(untouched, of, None)
    assert all(p.requires_grad for p in untouched.parameters())
    assert untouched.training
