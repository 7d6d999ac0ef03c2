"""Floating-point operations, against two counters that were written elsewhere."""

from __future__ import annotations

import pytest
import torch
from fvcore.nn import FlopCountAnalysis
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from sparsekit.models.flops import flops
from sparsekit.models.transformer import transformer
from tests.models.test_model_builders import SIZES, build

MULTIPLYING = ("conv", "linear", "matmul", "addmm", "bmm", "einsum")


def counted_by_torch(model: nn.Module, inputs: torch.Tensor) -> int:
    """Attention as matrix products: its fused form in evaluation mode is not counted at all."""
    fast = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        with FlopCounterMode(display=False) as counter, sdpa_kernel(SDPBackend.MATH):
            model.eval()(inputs)
    finally:
        torch.backends.mha.set_fastpath_enabled(fast)
    return counter.get_total_flops()


@pytest.mark.parametrize("name", ["mlp", "lenet_300_100", "lenet_5", "resnet20", "vit_tiny_cifar"])
@torch.no_grad()
def test_totals_are_those_of_pytorchs_counter(name: str) -> None:
    shape, num_classes, *_ = SIZES[name]
    model = build(name, shape, num_classes)
    assert flops(model, shape).total({}) == counted_by_torch(model, torch.zeros(1, *shape)) > 0


@torch.no_grad()
def test_totals_of_a_language_model_are_those_of_pytorchs_counter() -> None:
    model, tokens = transformer((12,), 50, width=16), torch.zeros(1, 12, dtype=torch.int64)
    assert flops(model, tokens).total({}) == counted_by_torch(model, tokens) > 0


def test_multiplications_are_those_of_fvcore() -> None:
    """It counts a multiplication and an addition as one, and norms, which we leave out."""
    shape, num_classes, *_ = SIZES["resnet20"]
    of_many_kinds = nn.Sequential(
        nn.Conv2d(4, 8, 3, stride=2, padding=1, groups=2), nn.ReLU(), nn.BatchNorm2d(8),
        nn.ConvTranspose2d(8, 2, 2, stride=2), nn.Flatten(), nn.Linear(2 * 10 * 6, 5),
    )  # fmt: skip
    for model, size in (
        (build("resnet20", shape, num_classes), shape),
        (of_many_kinds, (4, 10, 6)),
    ):
        analysis = FlopCountAnalysis(model.eval(), torch.zeros(1, *size))
        found = analysis.unsupported_ops_warnings(False).by_operator()
        assert flops(model, size).total({}) == 2 * sum(found[name] for name in MULTIPLYING) > 0
