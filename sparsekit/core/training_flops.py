"""Floating-point operations of training, from those of one forward pass and from the masks.

The convention of Evci et al. 2020 (RigL, appendix): the gradient with respect to the inputs of a
multiplication costs as much as the forward pass, that with respect to its weight as much again, so
that a dense step costs three forward passes. What a pruned weight spares counts as spared, whatever
the hardware does. Plain numbers: nothing here is a tensor.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace

Change = tuple[int, Mapping[str, int]]
"""From which pass on, and how many weights each layer keeps from then on."""


@dataclass(frozen=True)
class Shares:
    """The fraction of a weight's operations that is done, on average over the steps.

    forward: in the forward pass. inputs: for the gradient with respect to what the weight is
    multiplied with. weights: for the gradient with respect to the weight itself.
    """

    forward: float = 1.0
    inputs: float = 1.0
    weights: float = 1.0


DENSE = Shares()


def flops_per_example(
    per_weight: Mapping[str, int], other: int, shares: Mapping[str, Shares]
) -> float:
    """Return the operations of a training step for one example; weights without shares are dense.

    `per_weight` and `other` are those of the dense forward pass, see `models.flops`. Operations
    that no weight causes are done three times.

    >>> flops_per_example({"a": 100, "b": 10}, 5, {"a": Shares(0.5, 0.5, 1.0)})
    245.0
    """
    total = 3.0 * other
    for name, count in per_weight.items():
        share = shares.get(name, DENSE)
        total += count * (share.forward + share.inputs + share.weights)
    return total


def shares_of_masks(
    changes: Sequence[Change],
    sizes: Mapping[str, int],
    *,
    num_passes: int,
    dense_passes: Sequence[int] = (),
    dense_layers: Collection[str] = (),
) -> dict[str, Shares]:
    """Return the mean shares under masks over passes 0 to `num_passes` (exclusive).

    `sizes`: number of weights of each layer. In `dense_passes`, ascending, the gradients of the
    weights of `dense_layers` are computed for pruned weights too, as movers that grow by gradients
    ask for. The first of `changes` is at pass 0.

    >>> changes = [(0, {"a": 10}), (8, {"a": 5})]
    >>> shares_of_masks(changes, {"a": 10}, num_passes=10)["a"]
    Shares(forward=0.9, inputs=0.9, weights=0.9)
    >>> shares_of_masks([(0, {"a": 5})], {"a": 10}, num_passes=4,
    ...                 dense_passes=[1], dense_layers=["a"])["a"]
    Shares(forward=0.5, inputs=0.5, weights=0.625)
    """
    begins = [min(begin, num_passes) for begin, _ in changes]
    pieces = [
        (kept, end - begin, bisect_left(dense_passes, end) - bisect_left(dense_passes, begin))
        for (_, kept), begin, end in zip(changes, begins, [*begins[1:], num_passes], strict=True)
    ]
    shares = {}
    for name, size in sizes.items():
        kept = sum(kept[name] * length for kept, length, _ in pieces)
        extra = sum((size - kept[name]) * dense for kept, _, dense in pieces)
        density = kept / (size * num_passes)
        weights = density + (extra / (size * num_passes) if name in dense_layers else 0.0)
        shares[name] = Shares(density, density, weights)
    return shares


def shares_of_frozen(
    shares: Mapping[str, Shares], names: Sequence[str], trained: Collection[str]
) -> dict[str, Shares]:
    """Return shares where only the parameters `trained` are: no other gets a gradient.

    Gradients with respect to inputs are needed from the first trained parameter on, in the order of
    `names`, that of the network.

    >>> shares_of_frozen({}, ["a", "b", "c"], ["b"])["a"]
    Shares(forward=1.0, inputs=0.0, weights=0.0)
    >>> shares_of_frozen({}, ["a", "b", "c"], ["b"])["c"]
    Shares(forward=1.0, inputs=1.0, weights=0.0)
    """
    first = next((i for i, name in enumerate(names) if name in trained), len(names))
    frozen = {}
    for i, name in enumerate(names):
        share = shares.get(name, DENSE)
        if name not in trained:
            share = replace(share, weights=0.0)
        frozen[name] = replace(share, inputs=0.0) if i < first else share
    return frozen
