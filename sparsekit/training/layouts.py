"""Which memory layout a network can be trained in."""

from __future__ import annotations

import torch
from torch import nn

MIN_CHANNELS = 8


def unsafe_channels_last(model: nn.Module, device: torch.device, capability: str) -> list[str]:
    """Name the layers whose backward pass in channels last corrupts memory on this processor.

    In PyTorch 2.15, on CPUs without AVX-512, the backward pass of a 1x1 convolution with a stride
    and fewer than 8 input channels writes beyond its buffer ("free(): invalid next size").
    `capability`: of the CPU, as `torch.backends.cpu.get_cpu_capability()` has it.
    """
    if device.type != "cpu" or capability.startswith("AVX512"):
        return []
    return [
        name
        for name, module in model.named_modules()
        if isinstance(module, nn.Conv2d)
        and module.in_channels // module.groups < MIN_CHANNELS
        and set(module.kernel_size) == {1}
        and max(module.stride) > 1
    ]


def check_channels_last(model: nn.Module, device: torch.device) -> None:
    """Raise ValueError if `model` cannot be trained in channels last on `device`."""
    unsafe = unsafe_channels_last(model, device, torch.backends.cpu.get_cpu_capability())
    if unsafe:
        raise ValueError(
            f"train.channels_last=true: PyTorch corrupts memory in the backward pass of "
            f"{', '.join(unsafe)} (1x1, strided, fewer than {MIN_CHANNELS} input channels) on CPUs "
            "without AVX-512; use train.channels_last=false"
        )


def best_layout(model: nn.Module, device: torch.device) -> torch.memory_format:
    """Return channels last, several times as fast for convolutions on CPUs, where it is safe."""
    unsafe = unsafe_channels_last(model, device, torch.backends.cpu.get_cpu_capability())
    return torch.contiguous_format if unsafe else torch.channels_last
