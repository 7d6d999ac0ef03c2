"""Which parameters count as prunable."""

import pytest
import timm
import torch
from torch import nn
from torch.nn.utils.parametrizations import spectral_norm, weight_norm
from torch.nn.utils.prune import l1_unstructured

from sparsekit.models.layers import output_dims
from sparsekit.models.lenet import lenet_300_100
from sparsekit.models.prunable import prunable
from sparsekit.models.torchvision_models import resnet18_cifar, vit_b_16
from sparsekit.models.vgg import vgg


class Everything(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(7, 8)
        self.stem = nn.Conv1d(8, 8, 3, bias=True)
        self.norm = nn.LayerNorm(8)
        self.attention = nn.MultiheadAttention(8, 2)
        self.cross = nn.MultiheadAttention(8, 2, kdim=4, vdim=6)
        self.up = nn.ConvTranspose2d(8, 4, 2)
        self.head = nn.Linear(8, 7)


def test_weights_of_layers_and_attention_in_order():
    assert prunable(Everything()) == (
        "stem.weight",
        "attention.in_proj_weight",
        "attention.out_proj.weight",
        "cross.q_proj_weight",
        "cross.k_proj_weight",
        "cross.v_proj_weight",
        "cross.out_proj.weight",
        "up.weight",
        "head.weight",
    )


def test_exclude_removes_and_include_adds_in_model_order():
    names = prunable(Everything(), exclude=("cross.*", "up.weight"), include=("embed.*",))
    assert names == (
        "embed.weight",
        "stem.weight",
        "attention.in_proj_weight",
        "attention.out_proj.weight",
        "head.weight",
    )


@pytest.mark.parametrize("option", ["exclude", "include"])
def test_pattern_without_effect_is_an_error_that_lists_the_names(option):
    with pytest.raises(ValueError, match=rf"{option} pattern 'haed.*' matches none of: .*weight"):
        prunable(Everything(), **{option: ("haed.*",)})


def test_excluding_what_is_not_prunable_is_an_error():
    with pytest.raises(ValueError, match=r"norm\.weight"):
        prunable(Everything(), exclude=("norm.weight",))


def test_shared_weight_is_listed_once():
    first, second = nn.Linear(4, 4), nn.Linear(4, 4)
    second.weight = first.weight
    assert prunable(nn.Sequential(first, second)) == ("0.weight",)


def test_head_tied_to_an_embedding_is_an_embedding_unless_asked_for():
    model = Everything()
    model.head.weight = model.embed.weight
    assert "head.weight" not in prunable(model)
    assert "embed.weight" not in prunable(model)
    assert "embed.weight" in prunable(model, include=("embed.weight",))


class HeadFirst(nn.Module):
    """The classifier is registered before the layers below it."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(6, 3)
        self.hidden = nn.Linear(4, 6)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.hidden(x.flatten(1)).relu())


def kept_by(model: nn.Module, example: object) -> set[str]:
    return set(prunable(model)) - set(prunable(model, example, keep_head=True))


def test_the_classifier_is_found_wherever_it_was_registered():
    assert kept_by(HeadFirst(), (1, 2, 2)) == {"head.weight"}
    assert kept_by(HeadFirst(), torch.zeros(1, 4)) == {"head.weight"}


@pytest.mark.parametrize("build", [lenet_300_100, resnet18_cifar, vgg, vit_b_16])
def test_the_classifier_of_our_networks_is_found(build):
    shape = (3, 32, 32) if build is not vit_b_16 else (3, 224, 224)
    model = build(shape, 7)
    (head,) = kept_by(model, shape)
    assert head == prunable(model)[-1]
    assert model.get_parameter(head).shape[0] == 7


@pytest.mark.parametrize("name", ["deit_tiny_distilled_patch16_224", "levit_128s"])
def test_both_heads_of_distilled_networks_are_found_with_and_without_an_example(name):
    model = timm.create_model(name, num_classes=7)
    heads = kept_by(model, (3, 224, 224))
    assert len(heads) == 2
    assert all("head" in head and len(model.get_parameter(head)) == 7 for head in heads)
    assert kept_by(model, None) == heads


def test_a_classifier_behind_a_computed_weight_is_found():
    model = HeadFirst()
    model.head = weight_norm(model.head)
    assert kept_by(model, (1, 2, 2)) == {"head.parametrizations.weight.original1"}


@pytest.mark.parametrize(
    ("model", "example"),
    [(HeadFirst(), None), (nn.Sequential(nn.Linear(4, 6), nn.MaxPool1d(2)), torch.zeros(1, 4))],
)
def test_where_the_classifier_cannot_be_told_the_way_out_is_named(model, example):
    with pytest.raises(ValueError, match=r"prunable\.exclude=\["):
        prunable(model, example, keep_head=True)


def test_frozen_weights_are_left_alone_unless_asked_for():
    model = HeadFirst()
    model.hidden.requires_grad_(False)
    assert prunable(model) == ("head.weight",)
    assert prunable(model, include=("hidden.weight",)) == ("head.weight", "hidden.weight")


def test_recurrent_layers_have_prunable_matrices():
    names = prunable(nn.ModuleList([nn.LSTM(3, 4, bidirectional=True), nn.GRUCell(4, 4)]))
    assert names == (
        "0.weight_ih_l0",
        "0.weight_hh_l0",
        "0.weight_ih_l0_reverse",
        "0.weight_hh_l0_reverse",
        "1.weight_ih",
        "1.weight_hh",
    )


@pytest.mark.parametrize(
    ("change", "name"),
    [
        (weight_norm, "parametrizations.weight.original1"),
        (spectral_norm, "parametrizations.weight.original"),
        (nn.utils.weight_norm, "weight_v"),
        (lambda layer: l1_unstructured(layer, "weight", 0.5), "weight_orig"),
    ],
)
def test_of_a_computed_weight_what_it_is_computed_from_is_prunable(change, name):
    assert prunable(change(nn.Linear(3, 4))) == (name,)
    assert prunable(change(nn.Linear(1, 4))) == (name,)


class Raw(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.matrix = nn.Parameter(torch.ones(3, 4))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x @ self.matrix


def test_a_model_without_prunable_weights_is_refused_with_what_could_be_included():
    with pytest.raises(ValueError, match=r"nothing is prunable.*include takes any of: matrix"):
        prunable(Raw())
    assert prunable(Raw(), include=("matrix",)) == ("matrix",)
    with pytest.raises(ValueError, match=r"nothing is prunable: all of 0\.weight"):
        prunable(nn.Sequential(nn.Linear(3, 3)), exclude=("0.*",))


def test_outputs_of_transposed_convolutions_lie_in_dimension_one():
    model = nn.Sequential(nn.Conv2d(3, 4, 3), weight_norm(nn.ConvTranspose2d(4, 8, 2)))
    dims = output_dims(model)
    assert dims["0.weight"] == 0
    assert dims["1.parametrizations.weight.original1"] == 1
    assert dims.keys() == dict(model.named_parameters()).keys()


def test_a_transposed_tie_is_refused():
    model = nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 3))
    model[1].weight = nn.Parameter(model[0].weight.data.t())
    with pytest.raises(ValueError, match=r"0\.weight and 1\.weight share memory"):
        prunable(model)
