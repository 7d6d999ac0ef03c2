"""Every family of models converts, and its outputs stay those of the masked dense network."""

from __future__ import annotations

import functools
import json

import pytest
import torch
from torch import nn
from torchvision.models import ResNet, VisionTransformer
from torchvision.models.resnet import BasicBlock

from sparsekit.core.prune import apply
from sparsekit.exports.convert import convert
from sparsekit.inference.graph import Graph
from sparsekit.inference.running import SparseNetwork
from sparsekit.models.cifar_resnet import cifar_resnet
from sparsekit.models.lenet import lenet_5, mlp
from sparsekit.models.timm_models import timm_model
from sparsekit.models.transformer import Transformer
from sparsekit.models.vgg import vgg
from sparsekit.models.wide_resnet import wide_resnet

IMAGE = (3, 32, 32)
NOT_LAYERS = ("embed", "embedding", "token")


def small_resnet() -> nn.Module:
    return ResNet(BasicBlock, [1, 1, 1, 1], num_classes=10, width_per_group=64)


TRANSFORMER = functools.partial(
    Transformer, num_tokens=13, length=6, width=16, num_layers=1, num_heads=2, mlp_width=32
)
VIT = functools.partial(
    VisionTransformer, image_size=16, patch_size=8, num_layers=1, num_heads=2, hidden_dim=16
)
TIMM_VIT = {"patch_size": 16, "depth": 1, "embed_dim": 16, "num_heads": 2}
FAMILIES = {
    "mlp": (lambda: mlp((1, 4, 4), 10, hidden=(8, 8)), (1, 4, 4)),
    "lenet_5": (lambda: lenet_5((1, 16, 16), 10), (1, 16, 16)),
    "vgg": (lambda: vgg((1, 16, 16), 10, depth=11), (1, 16, 16)),
    "cifar_resnet": (lambda: cifar_resnet(IMAGE, 10, depth=8, width=4), IMAGE),
    "wide_resnet": (lambda: wide_resnet(IMAGE, 10, depth=10, width=1), IMAGE),
    "torchvision_resnet": (small_resnet, IMAGE),
    "torchvision_vit": (lambda: VIT(mlp_dim=32, num_classes=10), (3, 16, 16)),
    "timm_vit": (
        lambda: timm_model(IMAGE, 10, name="vit_tiny_patch16_224", options=TIMM_VIT),
        IMAGE,
    ),
    "timm_resnet": (
        lambda: timm_model(IMAGE, 10, name="resnet10t", options={"stem_width": 8}),
        IMAGE,
    ),
    "transformer": (lambda: TRANSFORMER(dropout=0.1), None),
}


def drawn(model: nn.Module) -> None:
    """Give all biases, gains and statistics values that a mistake would change."""
    for name, tensor in model.state_dict().items():
        if "var" in name:
            tensor.uniform_(0.5, 1.5)
        elif tensor.ndim == 1:
            tensor.add_(torch.randn_like(tensor) / 4)


@pytest.mark.parametrize("family", FAMILIES)
def test_outputs_are_those_of_the_masked_network(family):
    torch.manual_seed(0)
    build, shape = FAMILIES[family]
    model = build()
    drawn(model)
    masks = {
        name: torch.rand(one.shape) < 0.3
        for name, one in model.named_parameters()
        if one.ndim > 1 and not name.removesuffix(".weight").endswith(NOT_LAYERS)
    }
    for mask in masks.values():
        mask[0] = False  # a neuron that was ablated; what it adds behind it stays
    inputs = torch.randn(3, *shape) if shape else torch.randint(13, (3, 6))
    found = convert(model, masks, inputs, choose="sparse")
    kinds = [layer.kind for layer in found.layers]
    assert kinds == [f"sparse_{kind.removeprefix('sparse_')}" for kind in kinds]
    assert len(kinds) == len(masks)
    left = {node.op for node in found.graph.nodes}
    assert not left & {"aten.batch_norm.default", "aten.dropout.default", "linear", "conv2d"}
    record, tensors = found.graph.record()
    network = SparseNetwork(Graph.from_record(json.loads(json.dumps(record)), tensors))
    model.load_state_dict(apply(model.state_dict(), masks))
    assert model.training
    for batch in (inputs, inputs[:1]):
        with torch.no_grad():
            expected = model.eval()(batch)
        torch.testing.assert_close(network(batch), expected, rtol=1e-4, atol=1e-5)
