"""Channels that are entirely masked are removed, and the outputs stay what they were."""

import pytest
import torch

from sparsekit.core.prune import total_kept
from sparsekit.models.cifar_resnet import cifar_resnet
from sparsekit.models.lenet import lenet_5, mlp
from sparsekit.models.timm_models import timm_model
from sparsekit.models.transformer import transformer
from sparsekit.models.vgg import vgg
from sparsekit.models.wide_resnet import wide_resnet
from sparsekit.networks.network import Network, network_of
from sparsekit.networks.removal import remove_masked_channels
from tests.networks.networks import drawn_state, masks_with_empty_rows, network, outputs
from tests.networks.odd_networks import odd

ZOO = {
    "mlp": network(mlp, 1, 8, 8),
    "lenet_5": network(lenet_5, 1, 16, 16),
    "vgg": network(vgg, 3, 16, 16, depth=11),
    "resnet": network(cifar_resnet, 3, 8, 8, depth=14),
    "resnet_padding": network(cifar_resnet, 3, 8, 8, depth=14, shortcut="padding"),
    "wide_resnet": network(wide_resnet, 3, 8, 8, depth=10, width=2),
    "efficientnet": network(timm_model, 3, 16, 16, name="test_efficientnet"),
    "transformer": network(transformer, 8, dtype="int64", mlp_width=128),
}


def inputs_for(of: Network) -> torch.Tensor:
    generator = torch.Generator().manual_seed(3)
    example = of.example()
    assert isinstance(example, torch.Tensor)
    shape = (4, *example.shape[1:])
    if example.is_floating_point():
        return torch.randn(shape, generator=generator)
    return torch.randint(10, shape, generator=generator)


@pytest.mark.parametrize("shifts", [True, False])
@pytest.mark.parametrize("name", ZOO)
def test_outputs_stay_equal_on_the_zoo(name: str, shifts: bool) -> None:
    before, inputs = ZOO[name], inputs_for(ZOO[name])
    state, masks = drawn_state(before, shifts=shifts), masks_with_empty_rows(before)
    state = {n: t.double() if t.is_floating_point() else t for n, t in state.items()}
    doubled = {n: t.clone() for n, t in state.items()}
    after, smaller, fewer = remove_masked_channels(before, state, masks, None)
    num_before, num_after = (sum(t.numel() for t in s.values()) for s in (state, smaller))
    assert num_after < 0.9 * num_before
    assert total_kept(fewer) < total_kept(masks)
    expected = outputs(before, state, masks, inputs)
    difference = (outputs(after, smaller, fewer, inputs) - expected).abs().max()
    assert difference < 1e-12 * expected.abs().max()
    assert all(state[n].equal(doubled[n]) for n in state), "its input was changed"


@pytest.mark.parametrize("name", ZOO)
def test_it_is_rebuilt_from_plain_data(name: str) -> None:
    before = ZOO[name]
    after, state, masks = remove_masked_channels(
        before, drawn_state(before, shifts=False), masks_with_empty_rows(before), None
    )
    again = network_of(after.record())
    shapes = {n: t.shape for n, t in again.build().state_dict().items()}
    assert again == after
    assert shapes == {n: t.shape for n, t in state.items()}
    assert list(shapes) == list(state)
    assert all(state[n].shape == mask.shape for n, mask in masks.items())
    assert after.original == before.sizes(before.build(), masks_with_empty_rows(before))


def test_what_is_removed_can_be_removed_from_again() -> None:
    before = ZOO["mlp"]
    state = drawn_state(before, shifts=True)
    masks = masks_with_empty_rows(before)
    once, state, masks = remove_masked_channels(before, state, masks, None)
    masks["1.weight"][:5] = False
    twice, state_twice, masks_twice = remove_masked_channels(once, state, masks, None)
    assert len(twice.transforms) == 2
    assert twice.original == once.original
    assert len(state_twice["1.weight"]) == len(state["1.weight"]) - 5
    inputs = inputs_for(before)
    expected = outputs(once, state, masks, inputs)
    torch.testing.assert_close(
        outputs(twice, state_twice, masks_twice, inputs), expected, rtol=0, atol=1e-6
    )


def test_pruned_weights_are_carried_for_who_wants_them_back() -> None:
    before = ZOO["mlp"]
    state, masks = drawn_state(before, shifts=True), masks_with_empty_rows(before)
    masks["3.weight"][:, 0] = masks["1.weight"][0] = True
    masks["1.weight"][0, :9] = False
    _, smaller, fewer = remove_masked_channels(before, state, masks, None)
    assert smaller["1.weight"][0].equal(state["1.weight"][0])
    assert not fewer["1.weight"][0, :9].any()


def test_nothing_to_remove_is_the_same_network() -> None:
    before = ZOO["mlp"]
    state, masks = drawn_state(before, shifts=True), masks_with_empty_rows(before, 0.0, 0.0)
    after, same, kept = remove_masked_channels(before, state, masks, None)
    assert after == before
    assert same is state
    assert kept is masks


def test_a_layer_keeps_one_channel() -> None:
    before = ZOO["mlp"]
    state, masks = drawn_state(before, shifts=True), masks_with_empty_rows(before)
    masks["3.weight"][:] = False
    after, smaller, fewer = remove_masked_channels(before, state, masks, None)
    assert smaller["3.weight"].shape == (1, 1)
    assert not fewer["3.weight"].any()
    assert after.transforms[-1]["notes"]["left"]["3"]["reason"] == "a layer keeps one channel"


def odd_network(kind: str, *shape: int) -> tuple[Network, dict[str, torch.Tensor]]:
    of = network(odd, *shape, kind=kind)
    return of, drawn_state(of, shifts=True)


@pytest.mark.parametrize(
    ("kind", "shape", "emptied", "reason"),
    [
        ("FunctionalLayer", (16,), "hidden", "linear is not followed"),
        ("Sizes", (1, 4, 4), "conv", "view is not followed"),
        ("Counted", (16,), "hidden", "sum is not followed"),
        ("Joined", (1, 2, 2), "left", "cat is not followed"),
        ("TwoOfEach", (1, 6, 6), "up", "conv2d is not followed"),
        ("DepthwiseWithBorder", (1, 6, 6), "up", "what down reads there is not constant"),
        ("Tied", (16,), "first", "linear is not followed"),
        ("Twice", (16,), "again", "what again reads there is not constant"),
        ("InPlace", (16,), "hidden", "setitem is not followed"),
        ("InPlaceOfAView", (1, 4, 4), "hidden", "add is not followed"),
        ("Random", (16,), "hidden", "dropout is not followed"),
    ],
)
def test_what_is_not_understood_stays_and_is_named(
    kind: str, shape: tuple[int, ...], emptied: str, reason: str
) -> None:
    before, state = odd_network(kind, *shape)
    masks = masks_with_empty_rows(before, 0.0, 0.0)
    masks[f"{emptied}.weight"][:4] = False
    after, smaller, _ = remove_masked_channels(before, state, masks, None)
    assert smaller[f"{emptied}.weight"].shape == state[f"{emptied}.weight"].shape
    notes = after.transforms[-1]["notes"]
    left = notes["left"]
    assert notes["removed"] == {}
    assert f"4 of {emptied}" in notes["warnings"][0]
    assert left[emptied]["channels"] == 4
    assert reason in left[emptied]["reason"]


@pytest.mark.parametrize(
    ("kind", "shape", "emptied"),
    [
        ("Gated", (16,), ["gate", "up"]),
        ("Convolutions", (1, 10, 10), ["first", "second", "third"]),
    ],
)
def test_constants_are_folded(kind: str, shape: tuple[int, ...], emptied: list[str]) -> None:
    before, state = odd_network(kind, *shape)
    masks = masks_with_empty_rows(before, 0.0, 0.0)
    for index, name in enumerate(emptied):
        masks[f"{name}.weight"][: 4 + (kind == "Convolutions") * index] = False
    after, smaller, fewer = remove_masked_channels(before, state, masks, None)
    inputs = inputs_for(before)
    expected = outputs(before, state, masks, inputs)
    torch.testing.assert_close(outputs(after, smaller, fewer, inputs), expected, rtol=0, atol=1e-5)
    for index, name in enumerate(emptied):
        assert len(smaller[f"{name}.weight"]) == 8 - (kind == "Convolutions") * index


@pytest.mark.parametrize(
    ("kind", "emptied"),
    [("Depthwise", "up"), ("Depthwise", "depth"), ("DepthwiseWithBorder", "depth")],
)
def test_channels_of_depthwise_convolutions_go_with_those_they_read(
    kind: str, emptied: str
) -> None:
    """Constants pass through, and what is behind takes them over; or nothing reads a channel."""
    before, state = odd_network(kind, 1, 6, 6)
    masks = masks_with_empty_rows(before, 0.0, 0.0)
    masks[f"{emptied}.weight"][:4] = False
    masks["down.weight"][:, 10:] = False
    after, smaller, fewer = remove_masked_channels(before, state, masks, None)
    inputs = inputs_for(before)
    expected = outputs(before, state, masks, inputs)
    torch.testing.assert_close(outputs(after, smaller, fewer, inputs), expected, rtol=0, atol=1e-5)
    removed = {"up": 6, "depth": 6}
    assert after.transforms[-1]["notes"] == {"removed": removed, "left": {}, "warnings": []}
    assert smaller["depth.weight"].equal(state["depth.weight"][4:10])
    depth = after.build().get_submodule("depth")
    assert (depth.groups, depth.in_channels, depth.out_channels) == (6, 6, 6)
    assert smaller["down.bias"].abs().max() > 0.01


def test_a_missing_bias_is_made_for_what_is_folded() -> None:
    before, state = odd_network("Gated", 16)
    masks = masks_with_empty_rows(before, 0.0, 0.0)
    masks["gate.weight"][:4] = masks["up.weight"][:4] = False
    after, smaller, _ = remove_masked_channels(before, state, masks, None)
    assert after.transforms[-1]["arguments"]["biases"] == ["down.bias"]
    hidden = torch.nn.functional.silu(state["gate.bias"][:4]) * state["up.bias"][:4]
    torch.testing.assert_close(smaller["down.bias"], state["down.weight"][:, :4] @ hidden)


def test_a_masked_bias_takes_no_constant() -> None:
    before = ZOO["mlp"]
    state, masks = drawn_state(before, shifts=True), masks_with_empty_rows(before, 0.0, 0.0)
    masks["1.weight"][:4] = False
    masks["3.bias"] = torch.ones(64, dtype=torch.bool)
    state["1.bias"] = state["1.bias"].abs() + 0.1
    after, smaller, _ = remove_masked_channels(before, state, masks, None)
    assert len(smaller["1.weight"]) == 64
    assert "cannot be folded" in after.transforms[-1]["notes"]["left"]["1"]["reason"]
