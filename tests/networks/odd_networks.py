"""Builders of networks with one thing in them that channel removal must see or leave alone."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class FunctionalLayer(nn.Module):
    """A weight of its own that no layer knows of reads the hidden units."""

    def __init__(self) -> None:
        super().__init__()
        self.hidden = nn.Linear(16, 12)
        self.readout = nn.Parameter(torch.randn(10, 12))

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(self.hidden(x).relu(), self.readout)


class Sizes(nn.Module):
    """A reshape that names the number of features."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 8, 3)
        self.head = nn.Linear(8 * 4, 10)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.conv(x).view(-1, 32))


class Counted(nn.Module):
    """A sum over channels, divided by how many there are."""

    def __init__(self) -> None:
        super().__init__()
        self.hidden = nn.Linear(16, 12)
        self.head = nn.Linear(12, 10)

    def forward(self, x: Tensor) -> Tensor:
        hidden = self.hidden(x).relu()
        return self.head(hidden) + hidden.sum(dim=1, keepdim=True) / hidden.shape[1]


class Joined(nn.Module):
    """Two branches concatenated, and a grouped convolution."""

    def __init__(self) -> None:
        super().__init__()
        self.left = nn.Conv2d(1, 8, 1)
        self.right = nn.Conv2d(1, 8, 1)
        self.grouped = nn.Conv2d(16, 16, 1, groups=4)
        self.head = nn.Linear(16, 10)

    def forward(self, x: Tensor) -> Tensor:
        joined = torch.cat([self.left(x), self.right(x)], dim=1).relu()
        return self.head(self.grouped(joined).mean(dim=(2, 3)))


class Tied(nn.Module):
    """Two layers with one weight."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(16, 16)
        self.second = nn.Linear(16, 16)
        self.second.weight = self.first.weight
        self.head = nn.Linear(16, 10)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.second(self.first(x).relu()).relu())


class Twice(nn.Module):
    """One layer that is used twice."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(16, 16)
        self.again = nn.Linear(16, 16)
        self.head = nn.Linear(16, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(x).relu()
        return self.head(self.again(self.again(x).relu()).relu())


class InPlace(nn.Module):
    """Entries of a hidden layer are overwritten."""

    def __init__(self) -> None:
        super().__init__()
        self.hidden = nn.Linear(16, 12)
        self.head = nn.Linear(12, 10)

    def forward(self, x: Tensor) -> Tensor:
        hidden = self.hidden(x)
        hidden[:, 3] = x[:, 0]
        return self.head(hidden.relu_())


class InPlaceOfAView(nn.Module):
    """An activation in place on a flattened view; its base is read as well."""

    def __init__(self) -> None:
        super().__init__()
        self.hidden = nn.Conv2d(1, 8, 4)
        self.head = nn.Linear(8, 10)
        self.other = nn.Conv2d(8, 10, 1)

    def forward(self, x: Tensor) -> Tensor:
        base = self.hidden(x)
        flat = base.flatten(1)
        flat += 1
        return self.head(flat) + self.other(base).flatten(1)


class Random(nn.Module):
    """Dropout that never stops."""

    def __init__(self) -> None:
        super().__init__()
        self.hidden = nn.Linear(16, 12)
        self.head = nn.Linear(12, 10)

    def forward(self, x: Tensor) -> Tensor:
        torch.manual_seed(0)
        return self.head(F.dropout(self.hidden(x) + 1, 0.5))


class Gated(nn.Module):
    """A product of two layers of hidden units, as in SwiGLU, without bias behind it."""

    def __init__(self) -> None:
        super().__init__()
        self.gate = nn.Linear(16, 12)
        self.up = nn.Linear(16, 12)
        self.down = nn.Linear(12, 10, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.down(F.silu(self.gate(x)) * self.up(x))


class Convolutions(nn.Module):
    """Convolutions without padding or bias, one with BatchNorm behind it, one padded by copies."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(1, 12, 3)
        self.second = nn.Conv2d(12, 12, 3, bias=False)
        self.norm = nn.BatchNorm2d(12)
        self.third = nn.Conv2d(12, 12, 3, padding=1, padding_mode="replicate", bias=False)
        self.head = nn.Linear(12, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = self.norm(self.second(self.first(x).relu())).relu()
        return self.head(F.avg_pool2d(torch.sigmoid(self.third(x)), 2).amax(dim=(2, 3)))


class Depthwise(nn.Module):
    """A depthwise convolution, without padding, between two of 1x1; several outputs per input."""

    def __init__(self, *, padding: int = 0, per_input: int = 1) -> None:
        super().__init__()
        self.up = nn.Conv2d(1, 12, 1)
        self.depth = nn.Conv2d(12, 12 * per_input, 3, groups=12, padding=padding)
        self.norm = nn.BatchNorm2d(12 * per_input)
        self.down = nn.Conv2d(12 * per_input, 10, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.down(self.norm(self.depth(torch.tanh(self.up(x)))).relu()).mean(dim=(2, 3))


class DepthwiseWithBorder(Depthwise):
    """The same, padded with zeros."""

    def __init__(self) -> None:
        super().__init__(padding=1)


class TwoOfEach(Depthwise):
    """The same, with two outputs for each input."""

    def __init__(self) -> None:
        super().__init__(per_input=2)


def odd(input_shape: Any, num_outputs: int, *, kind: str) -> nn.Module:
    found: type[nn.Module] = globals()[kind]
    return found()
