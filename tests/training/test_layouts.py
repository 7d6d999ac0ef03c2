"""Layers whose gradient in channels last is wrong on some processors."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from sparsekit.training.layouts import best_layout, check_channels_last, unsafe_channels_last

CPU = torch.device("cpu")


def model(channels: int = 4, kernel: int = 1, stride: int = 2) -> nn.Module:
    return nn.Sequential(nn.Conv2d(8, 8, 1, stride=2), nn.Conv2d(channels, 8, kernel, stride))


def test_narrow_strided_convolutions_are_unsafe_without_avx512() -> None:
    assert unsafe_channels_last(model(), CPU, "AVX2") == ["1"]
    assert unsafe_channels_last(model(), CPU, "AVX512") == []
    assert unsafe_channels_last(model(), torch.device("cuda"), "AVX2") == []
    for safe in (model(channels=8), model(kernel=3), model(stride=1)):
        assert unsafe_channels_last(safe, CPU, "AVX2") == []


def test_they_are_refused_by_name_and_judged_in_another_layout(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for capability, layout in (
        ("AVX2", torch.contiguous_format),
        ("AVX512", torch.channels_last),
    ):
        monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda c=capability: c)
        assert best_layout(model(), CPU) == layout
    check_channels_last(model(), CPU)
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: "DEFAULT")
    with pytest.raises(ValueError, match=r"backward pass of 1 .*train.channels_last=false"):
        check_channels_last(model(), CPU)
    check_channels_last(model(channels=8), CPU)
