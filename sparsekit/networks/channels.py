"""Which tensors of a network share which channels, and which of the channels are constant.

A `Space` is one set of channels: rows of the layer that makes them, entries of the normalisation
behind it, columns of the layers that read them. Additions and products tie spaces together. What
an operation does to channels that is not understood here pins the spaces it touches: nothing is
removed from them, and the operation is named as the reason.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Iterator, Mapping

from torch import Tensor

from sparsekit.networks.trace import Trace


@dataclasses.dataclass(eq=False)
class Space:
    """One set of `size` channels. `reason`: why none of them may go; None if they may."""

    size: int
    reason: str | None = None
    members: list[tuple[str, int, int]] = dataclasses.field(default_factory=list)
    merged: Space | None = None

    @property
    def root(self) -> Space:
        return self if self.merged is None else self.merged.root

    def pin(self, reason: str) -> None:
        self.root.reason = self.root.reason or reason

    def join(self, other: Space) -> None:
        """Make the two one set; both are pinned if their sizes differ."""
        mine, its = self.root, other.root
        if mine is its:
            return
        if mine.size != its.size:
            mine.pin(f"{mine.size} channels meet {its.size}")
            its.pin(f"{mine.size} channels meet {its.size}")
            return
        its.merged, mine.reason = mine, mine.reason or its.reason
        mine.members += its.members


@dataclasses.dataclass(frozen=True, eq=False)
class Value:
    """A tensor whose dimension `dim` holds the channels of `space`, `repeat` entries to each.

    `constants`: the value of a channel that is the same for all inputs and positions, else NaN.
    """

    space: Space
    dim: int
    constants: Tensor
    repeat: int = 1


@dataclasses.dataclass(frozen=True, eq=False)
class Layer:
    """One call of a linear layer or a convolution: what it reads, and how it is called.

    `exact`: a constant input adds the same everywhere, so that it may be folded into a bias.
    `mixes`: its outputs are made of all channels; those of a depthwise convolution of one each.
    """

    weight: str
    read: Value
    made: Value
    exact: bool
    mixes: bool = True

    def reads(self, space: Space) -> bool:
        """Say whether it stands in the way of the channels of `space`, and takes their constants.

        A depthwise convolution does neither, because its channels go with those it reads.
        """
        return self.mixes and self.read.space.root is space

    @property
    def prefix(self) -> str:
        return self.weight.rpartition(".")[0]


@dataclasses.dataclass(eq=False)
class Channels:
    """The channels of a traced network whose weights are `tensors`, in float64.

    `created`: names of biases that are among the tensors, but not yet in the network.
    `norms`: the running mean of the one normalisation that reads a layer's output, by that value.
    `uses`: how often a weight or a running mean is used. `opaque`: tensors used by what is not
    followed, each with the reason.
    """

    trace: Trace
    tensors: Mapping[str, Tensor]
    created: Collection[str] = ()
    spaces: list[Space] = dataclasses.field(default_factory=list)
    layers: list[Layer] = dataclasses.field(default_factory=list)
    norms: dict[int, str] = dataclasses.field(default_factory=dict)
    uses: dict[str, int] = dataclasses.field(default_factory=dict)
    readers: dict[int, int] = dataclasses.field(default_factory=dict)
    values: dict[int, Value] = dataclasses.field(default_factory=dict)
    storages: dict[int, Tensor] = dataclasses.field(default_factory=dict)
    owners: dict[tuple[str, int], tuple[Space, int]] = dataclasses.field(default_factory=dict)
    opaque: dict[str, str] = dataclasses.field(default_factory=dict)

    def new(self, size: int, reason: str | None = None) -> Space:
        self.spaces.append(Space(size, reason))
        return self.spaces[-1]

    def own(self, name: str, dim: int, space: Space, repeat: int = 1) -> None:
        """Let dimension `dim` of a tensor hold the channels of `space`."""
        owner = self.owners.get((name, dim))
        if owner is None:
            self.owners[name, dim] = (space, repeat)
            space.root.members.append((name, dim, repeat))
        elif owner[1] == repeat:
            owner[0].join(space)
        else:
            for one in (owner[0], space):
                one.pin(f"{name} is read in two forms")


def sibling(name: str, leaf: str) -> str:
    """Return the name of another tensor of the same module.

    >>> sibling("blocks.0.up.weight", "bias"), sibling("weight", "bias")
    ('blocks.0.up.bias', 'bias')
    """
    prefix, dot, _ = name.rpartition(".")
    return f"{prefix}{dot}{leaf}"


def can_be_folded(constants: Tensor, exact: bool) -> Tensor:
    """Say which channels are constants that a bias can take over: bool [channels]."""
    return constants.isfinite() & ((constants == 0) | exact)


def roots(spaces: list[Space]) -> Iterator[Space]:
    """Yield each set of channels once, in the order in which they are met."""
    yield from dict.fromkeys(space.root for space in spaces)
