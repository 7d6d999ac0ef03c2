"""Pools that keep activations as the layers around them want them.

PyTorch's own takes [N, C, H, W] in that order, one number at a time, or with channels last.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from sparsekit.inference.convolving import max_pool
from sparsekit.inference.library import library

WIDEST = 7
"""So many taps in a row are compared one after the other."""


def max_pool2d(
    x: Tensor,
    kernel_size: Sequence[int],
    stride: Sequence[int] = (),
    padding: Sequence[int] = (0,),
    dilation: Sequence[int] = (1,),
    ceil_mode: bool = False,
) -> Tensor:
    """Return what `torch.ops.aten.max_pool2d` does; layouts with channels or samples last stay."""
    kernel, pad = pair(kernel_size), pair(padding)
    step = pair(stride) if stride else kernel
    plain = x.ndim == 4 and not ceil_mode and pair(dilation) == (1, 1)
    mine = plain and all(map(reaches_all, x.shape[2:], kernel, step, pad))
    mine = mine and not x.requires_grad and x.device.type == "cpu"
    if not mine or x.is_contiguous(memory_format=torch.channels_last):
        return torch.ops.aten.max_pool2d.default(
            x, kernel_size, stride, padding, dilation, ceil_mode
        )
    kernels = library()
    if kernels is not None and x.dtype is torch.float32:
        return max_pool(kernels, x, kernel, step, pad)
    for dim, (k, s, p) in enumerate(zip(kernel, step, pad, strict=True)):
        x = _along(x, 2 + dim, k, s, p)
    return x


def adaptive_avg_pool2d(x: Tensor, output_size: Sequence[int]) -> Tensor:
    """Return what `torch.ops.aten.adaptive_avg_pool2d` does; samples that lie innermost stay so."""
    one = list(output_size) == [1, 1] and x.ndim == 4
    if not one or len(x) == 1 or x.stride(0) != 1 or not x.is_floating_point():
        return torch.ops.aten.adaptive_avg_pool2d.default(x, output_size)
    return x.permute(1, 2, 3, 0).mean((1, 2)).t()[:, :, None, None]


def reaches_all(size: int, kernel: int, stride: int, padding: int) -> bool:
    """Say whether one tap reaches every output, so that no border has to be filled."""
    if not (0 < kernel <= WIDEST and stride > 0 and 0 <= 2 * padding <= kernel):
        return False
    return 0 < _number(size, kernel, stride, padding) <= (size - 1) // stride + 1


def _number(size: int, kernel: int, stride: int, padding: int) -> int:
    return (size + 2 * padding - kernel) // stride + 1


def pair(sizes: Sequence[int]) -> tuple[int, int]:
    """Return sizes of rows and columns, of which one may stand for both."""
    return sizes[0], sizes[-1]


def _along(x: Tensor, dim: int, kernel: int, stride: int, padding: int) -> Tensor:
    """Return the largest of each `kernel` neighbours; borders are padded by nothing."""
    size = x.shape[dim]
    number = _number(size, kernel, stride, padding)
    taps = []
    for tap in range(kernel):
        first = max(0, -(-(padding - tap) // stride))
        last = min(number, (size - 1 + padding - tap) // stride + 1)
        if last <= first:
            continue
        start = first * stride + tap - padding
        where = slice(start, start + (last - first - 1) * stride + 1, stride)
        taps.append((first, last - first, x[(slice(None),) * dim + (where,)]))
    taps.sort(key=lambda one: -one[1])  # first those that reach every output
    if len(taps) == 1:
        return taps[0][2]
    whole = taps[1][1] == number
    out = torch.maximum(taps[0][2], taps[1][2]) if whole else taps[0][2].clone()
    for first, length, read in taps[1 + whole :]:
        part = out.narrow(dim, first, length)
        torch.maximum(part, read, out=part)
    return out
