"""Every model configuration builds, runs forward and backward, and has the size papers state."""

import importlib
import math
from pathlib import Path

import pytest
import torch
import yaml
from torch import nn

from sparsekit.models.cifar_resnet import cifar_resnet
from sparsekit.models.lenet import lenet_5, lenet_300_100, mlp
from sparsekit.models.prunable import prunable
from sparsekit.models.timm_models import timm_model
from sparsekit.models.torchvision_models import resnet50, vit_b_16
from sparsekit.models.vgg import vgg
from sparsekit.models.wide_resnet import wide_resnet

CONFIGS = Path(__file__).parents[2] / "configs" / "model"

GREY, CIFAR, IMAGE = (1, 28, 28), (3, 32, 32), (3, 64, 64)

# configuration -> image shape, classes, prunable tensors, prunable weights
SIZES = {
    "mlp": (GREY, 10, 3, 54_912),
    "lenet_300_100": (GREY, 10, 3, 266_200),
    "lenet_5": (GREY, 10, 4, 430_500),
    "resnet20": (CIFAR, 10, 22, 270_896),
    "resnet32": (CIFAR, 10, 34, 464_432),
    "resnet56": (CIFAR, 10, 58, 851_504),
    "resnet18_cifar": (CIFAR, 10, 21, 11_164_352),
    "wrn_22_2": (CIFAR, 10, 23, 1_076_912),
    "wrn_28_8": (CIFAR, 10, 29, 23_340_464),
    "wrn_32_4": (CIFAR, 100, 35, 7_413_168),
    "vgg16": (CIFAR, 10, 14, 14_715_584),
    "vgg19": (CIFAR, 10, 17, 20_024_000),
    "resnet50": (IMAGE, 1000, 54, 25_502_912),
    "vit_b_16": (IMAGE, 1000, 50, 86_292_480),
    "vit_tiny_cifar": (CIFAR, 10, 50, 5_319_552),
    "timm": (CIFAR, 10, 21, 11_172_032),
}


@pytest.fixture(autouse=True)
def _seeded():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        yield


def build(name: str, image_shape: tuple[int, int, int], num_classes: int) -> nn.Module:
    config = yaml.safe_load((CONFIGS / f"{name}.yaml").read_text())
    module, function = config.pop("_target_").rsplit(".", 1)
    return getattr(importlib.import_module(module), function)(image_shape, num_classes, **config)


def num_weights(model: nn.Module) -> int:
    return sum(model.get_parameter(name).numel() for name in prunable(model))


def test_every_configuration_is_listed_and_described():
    assert {path.stem for path in CONFIGS.glob("*.yaml")} == {*SIZES, "transformer"}
    for path in CONFIGS.glob("*.yaml"):
        assert path.read_text().startswith("# "), path


@pytest.mark.parametrize("name", SIZES)
def test_builds_trains_and_has_the_stated_size(name):
    image_shape, num_classes, num_tensors, expected = SIZES[name]
    model = build(name, image_shape, num_classes)
    names = prunable(model)
    assert (len(names), num_weights(model)) == (num_tensors, expected)
    logits = model(torch.randn(2, *image_shape))
    assert logits.shape == (2, num_classes)
    nn.functional.cross_entropy(logits, torch.tensor([0, 1])).backward()
    for parameter_name, parameter in model.named_parameters():
        assert parameter.grad is not None, parameter_name
        assert parameter.grad.isfinite().all(), parameter_name


def test_resnet20_layers_have_the_names_and_shapes_of_the_random_pruning_vectors():
    model = cifar_resnet(CIFAR, 10, depth=20)
    shapes = {name: tuple(model.get_parameter(name).shape) for name in prunable(model)}
    assert list(shapes)[:2] == ["conv.weight", "blocks.0.conv1.weight"]
    assert shapes["blocks.3.shortcut.0.weight"] == (32, 16, 1, 1)
    assert shapes["blocks.6.conv1.weight"] == (64, 32, 3, 3)
    assert shapes["fc.weight"] == (10, 64)


def test_padding_shortcut_keeps_every_second_pixel_and_adds_no_parameters():
    model = cifar_resnet(CIFAR, 10, depth=20, shortcut="padding")
    assert num_weights(model) == 270_896 - 16 * 32 - 32 * 64
    assert sum(parameter.numel() for parameter in model.parameters()) == 269_722
    shortcut = model.blocks[3].shortcut
    images = torch.randn(2, 16, 8, 8)
    out = shortcut(images)
    assert out.shape == (2, 32, 4, 4)
    assert torch.equal(out[:, 8:24], images[:, :, ::2, ::2])
    assert not out[:, :8].any()
    assert not out[:, 24:].any()


@pytest.mark.parametrize(
    ("depth", "width", "num_parameters"), [(28, 10, 36_479_194), (16, 4, 2_748_890)]
)
def test_wide_resnet_has_the_parameters_of_the_paper(depth, width, num_parameters):
    with torch.device("meta"):
        model = wide_resnet(CIFAR, 10, depth=depth, width=width)
    assert sum(parameter.numel() for parameter in model.parameters()) == num_parameters


def test_wide_resnet_accepts_both_ways_of_counting_depth():
    with torch.device("meta"):
        counts = {num_weights(wide_resnet(CIFAR, 10, depth=d, width=4)) for d in (32, 34)}
    assert len(counts) == 1


def test_other_channels_and_sizes_reach_the_stem():
    assert resnet50((1, 64, 64), 7)(torch.randn(2, 1, 64, 64)).shape == (2, 7)
    assert vgg((1, 28, 28), 10)(torch.randn(2, 1, 28, 28)).shape == (2, 10)
    assert cifar_resnet((1, 8, 8), 10)(torch.randn(2, 1, 8, 8)).shape == (2, 10)
    vit = timm_model((4, 64, 64), 5, name="vit_tiny_patch16_224")
    assert vit(torch.randn(2, 4, 64, 64)).shape == (2, 5)


def test_convolutions_start_kaiming_normal_and_norms_at_one():
    resnet, wide = cifar_resnet(CIFAR, 10), wide_resnet(CIFAR, 10, depth=10, width=4)
    assert resnet.blocks[8].conv2.weight.std().item() == pytest.approx(
        math.sqrt(2 / (64 * 9)), rel=0.03
    )
    fan_out = wide.blocks[1].conv1.out_channels * 9
    assert wide.blocks[1].conv1.weight.std().item() == pytest.approx(
        math.sqrt(2 / fan_out), rel=0.03
    )
    assert resnet.fc.weight.std().item() == pytest.approx(math.sqrt(2 / 64), rel=0.1)
    assert torch.equal(resnet.bn.weight, torch.ones(16))
    assert not resnet.fc.bias.any()


def test_lenets_start_glorot_normal():
    weight = lenet_300_100(GREY, 10)[1].weight
    assert weight.std().item() == pytest.approx(math.sqrt(2 / (784 + 300)), rel=0.03)
    assert not lenet_5(GREY, 10)[0].bias.any()


def test_a_perceptron_takes_inputs_of_any_shape():
    model = mlp((10,), 1)
    assert [tuple(weight.shape) for weight in model.parameters() if weight.ndim > 1] == [
        (64, 10),
        (64, 64),
        (1, 64),
    ]
    assert model(torch.randn(5, 10)).shape == (5, 1)
    assert mlp((2, 3), 4)(torch.randn(5, 2, 3)).shape == (5, 4)


@pytest.mark.parametrize("name", sorted(set(SIZES) - {"mlp", "lenet_300_100"}))
@pytest.mark.parametrize("shape", [(10,), (64, 64), ((3, 32, 32), (5,)), {"x": (3, 32, 32)}])
def test_image_networks_refuse_what_is_no_image(name, shape):
    with pytest.raises(ValueError, match=r"input_shape=.* needs images \[C, H, W\]"):
        build(name, shape, 10)


@pytest.mark.parametrize(
    ("build_wrong", "message"),
    [
        (lambda: cifar_resnet(CIFAR, 10, depth=21), "depth=21"),
        (lambda: cifar_resnet(CIFAR, 10, shortcut="identity"), "'projection' or 'padding'"),
        (lambda: wide_resnet(CIFAR, 10, depth=30), "depth=30"),
        (lambda: wide_resnet(CIFAR, 10, dropout=1.0), "dropout=1.0"),
        (lambda: vgg(CIFAR, 10, depth=17), "11, 13, 16, 19"),
        (lambda: vgg((1, 8, 8), 10), "at least 16x16"),
        (lambda: lenet_5((1, 8, 8), 10), "at least 16x16"),
        (lambda: mlp(GREY, 10, hidden=(0,)), "at least 1"),
        (lambda: mlp({"x": (3,), "y": (4,)}, 10), "needs one input"),
        (lambda: mlp((), 10), "needs one input"),
        (lambda: vit_b_16((3, 40, 40), 10), "divisible by 16"),
        (lambda: resnet50(IMAGE, 10, weights="IMAGENET"), "IMAGENET1K_V2"),
        (lambda: resnet50((1, 64, 64), 10, weights="DEFAULT"), "trained on RGB"),
        (lambda: timm_model(CIFAR, 10, name="resnet81"), "resnet18"),
        (lambda: timm_model(CIFAR, 10, name="resnet18", options={"in_chans": 1}), "in_chans"),
        (lambda: timm_model(CIFAR, 10, name="resnet18", options={"patch": 4}), "patch"),
    ],
)
def test_mistakes_name_the_value_and_the_valid_ones(build_wrong, message):
    with pytest.raises(ValueError, match=message):
        build_wrong()
