"""Which parameters count as prunable."""

import pytest
from torch import nn

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


def test_the_head_can_be_kept_whole():
    whole, kept = prunable(Everything()), prunable(Everything(), keep_head=True)
    assert kept == whole[:-1]
    assert whole[-1] == "head.weight"


@pytest.mark.parametrize("build", [lenet_300_100, resnet18_cifar, vgg, vit_b_16])
def test_the_last_weight_is_the_classifier(build):
    model = build((3, 224 if build is vit_b_16 else 32, 224 if build is vit_b_16 else 32), 7)
    (head,) = set(prunable(model)) - set(prunable(model, keep_head=True))
    assert model.get_parameter(head).shape[0] == 7
