"""Constants that a layer passes on: what they add up to behind it, and behind a normalisation."""

from __future__ import annotations

import torch
from torch import Tensor


def per_channel(weight: Tensor, repeat: int = 1) -> Tensor:
    """Sum a weight [outputs, inputs, ...] over the taps of each input channel: [outputs, channels].

    `repeat`: consecutive inputs that belong to one channel, as behind a flattened image.

    >>> per_channel(torch.tensor([[1.0, 2.0, 3.0, 4.0]]), repeat=2)
    tensor([[3., 7.]])
    """
    taps = weight.flatten(2).sum(dim=2) if weight.ndim > 2 else weight
    return taps.reshape(len(taps), -1, repeat).sum(dim=2)


def reaches(weight: Tensor, repeat: int = 1) -> Tensor:
    """Say which outputs use which input channel at all: bool [outputs, channels].

    >>> reaches(torch.tensor([[1.0, -1.0, 0.0, 0.0]]), repeat=2)
    tensor([[ True, False]])
    """
    return per_channel((weight != 0).to(torch.float64), repeat) > 0


def contribution(weight: Tensor, constants: Tensor, repeat: int = 1) -> Tensor:
    """Return what channels of constant value add to each output: the sum of c_j * sum(W[:, j]).

    Exact for linear layers and for convolutions that see every tap at every position. At a border
    padded with zeros fewer taps see the channel, and only c = 0 is exact. NaN, for channels that
    are not constant, counts as 0.

    >>> contribution(torch.tensor([[1.0, 2.0], [0.0, -1.0]]), torch.tensor([0.5, float("nan")]))
    tensor([0.5000, 0.0000])
    """
    return per_channel(weight, repeat) @ constants.nan_to_num(nan=0.0)


def after_layer(
    weight: Tensor, bias: Tensor | None, constants: Tensor, foldable: Tensor, repeat: int = 1
) -> Tensor:
    """Return the constant outputs of a layer, NaN where an output depends on its inputs.

    An output is constant if every channel it uses is `foldable` (bool [channels]).

    >>> weight, unknown = torch.tensor([[0.0, 0.0], [1.0, 0.0]]), torch.tensor([float("nan")] * 2)
    >>> after_layer(weight, torch.tensor([0.7, 0.1]), unknown, unknown.isfinite())
    tensor([0.7000,    nan])
    """
    depends = (reaches(weight, repeat) & ~foldable).any(dim=1)
    value = contribution(weight, constants.where(foldable, torch.nan), repeat)
    if bias is not None:
        value = value + bias
    return value.masked_fill(depends, torch.nan)


def after_depthwise(
    weight: Tensor, bias: Tensor | None, constants: Tensor, foldable: Tensor
) -> Tensor:
    """Return the constant outputs of a depthwise convolution, NaN where one depends on its input.

    `weight`: [channels, 1, ...]. Output c is made of input c alone, and constant if that is
    `foldable` (bool [channels]) or not used.

    >>> weight, inputs = torch.tensor([[[0.0, 0]], [[1, 2]]]), torch.tensor([float("nan"), 2])
    >>> after_depthwise(weight, torch.tensor([0.7, 0.1]), inputs, inputs.isfinite())
    tensor([0.7000, 6.1000])
    """
    depends = reaches(weight)[:, 0] & ~foldable
    value = per_channel(weight)[:, 0] * constants.where(foldable, 0.0)
    if bias is not None:
        value = value + bias
    return value.masked_fill(depends, torch.nan)


def after_norm(
    constants: Tensor,
    mean: Tensor,
    variance: Tensor,
    weight: Tensor | None,
    bias: Tensor | None,
    eps: float,
) -> Tensor:
    """Return constants behind BatchNorm with running statistics: (c - mean) / std * gain + bias.

    A channel of gain 0 is its bias, whatever goes in; NaN elsewhere stays.

    >>> one = torch.ones(2)
    >>> after_norm(torch.tensor([3.0, float("nan")]), one, one, torch.tensor([2.0, 0.0]), one, 0.0)
    tensor([5., 1.])
    """
    value = (constants - mean) / torch.sqrt(variance + eps)
    if weight is not None:
        value = torch.where(weight == 0, torch.zeros_like(value), value * weight)
    return value if bias is None else value + bias
