"""Inputs of a network as one value: a tensor, or a tuple or dict of tensors, examples first."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

Inputs = Tensor | tuple[Tensor, ...] | dict[str, Tensor]
"""What a network is called with: model(x), model(*inputs) or model(**inputs); [B, ...] each."""

Shape = tuple[int, ...]
Shapes = Shape | tuple[Shape, ...] | dict[str, Shape]
"""Shapes of the inputs of one example, without the batch."""


def tensors_of(tree: Inputs) -> list[Tensor]:
    """List the tensors of a tree in their order.

    Raises ValueError for anything but a tensor or a tuple, list or dict of tensors, and for none.
    """
    if isinstance(tree, Tensor):
        return [tree]
    found: list[Any] = list(tree.values() if isinstance(tree, dict) else _sequence(tree))
    if not found:
        raise ValueError(f"expected at least one tensor, found an empty {type(tree).__name__}")
    for one in found:
        if not isinstance(one, Tensor):
            raise ValueError(
                f"expected a tuple or dict of tensors, found a {type(one).__name__} in it"
            )
    return found


def map_tensors(tree: Inputs, function: Callable[[Tensor], Tensor]) -> Inputs:
    """Apply a function to every tensor of a tree; a list becomes a tuple.

    >>> map_tensors({"a": torch.ones(2)}, lambda x: x + 1)
    {'a': tensor([2., 2.])}
    """
    tensors_of(tree)  # refuses what is not a tree
    if isinstance(tree, Tensor):
        return function(tree)
    if isinstance(tree, dict):
        return {name: function(one) for name, one in tree.items()}
    return tuple(function(one) for one in tree)


def num_examples(tree: Inputs) -> int:
    """Count the examples of a batch; ValueError where its tensors disagree.

    >>> num_examples((torch.zeros(3, 2), torch.zeros(3)))
    3
    """
    tensors = tensors_of(tree)
    if any(one.ndim == 0 for one in tensors):
        raise ValueError("a tensor without dimensions holds no examples; the first must be those")
    counts = {len(one) for one in tensors}
    if len(counts) > 1:
        raise ValueError(f"tensors of one batch have different lengths: {sorted(counts)}")
    return counts.pop()


def chunk(tree: Inputs, pieces: int) -> list[Inputs]:
    """Cut a batch into equal pieces, in order, as `Tensor.chunk` does.

    Raises ValueError unless the examples divide evenly: pieces of unequal size would not weigh
    their examples equally.
    """
    count = num_examples(tree)
    if not 1 <= pieces <= count or count % pieces:
        raise ValueError(f"{count} examples cannot be cut into {pieces} equal pieces")
    if (
        pieces == 1
    ):  # at every step of a fit, where views of all of it would cost as much as a layer
        return [tree]
    size = count // pieces
    return [part(tree, start, start + size) for start in range(0, count, size)]


def part(tree: Inputs, start: int, stop: int) -> Inputs:
    """Take the examples from `start` up to `stop`; views, no copies."""
    return map_tensors(tree, lambda one: one[start:stop])


def take(tree: Inputs, where: Tensor) -> Inputs:
    """Gather the examples at these positions; `where` is int64 on the device of the tensors."""
    return map_tensors(tree, lambda one: one.index_select(0, where))


def to_device(tree: Inputs, device: torch.device) -> Inputs:
    """Move every tensor, without waiting for the copy where that is possible."""
    return map_tensors(tree, lambda one: one.to(device, non_blocking=True))


def concatenate(trees: Sequence[Inputs]) -> Inputs:
    """Join batches of one kind into one; ValueError where they differ in kind or in names."""
    first = trees[0]
    if isinstance(first, Tensor):
        return torch.cat([tensors_of(tree)[0] for tree in trees])
    kinds = {tuple(tree) if isinstance(tree, dict) else len(tensors_of(tree)) for tree in trees}
    if len(kinds) > 1:
        raise ValueError(f"batches with different tensors in them: {', '.join(map(str, kinds))}")
    joined = [torch.cat(column) for column in zip(*map(tensors_of, trees), strict=True)]
    return dict(zip(first, joined, strict=True)) if isinstance(first, dict) else tuple(joined)


def call(model: Callable[..., Any], inputs: Inputs) -> Any:
    """Call a network: a tuple gives its arguments in order, a dict by name."""
    if isinstance(inputs, Tensor):
        return model(inputs)
    return model(**inputs) if isinstance(inputs, dict) else model(*inputs)


def input_shape(example: Inputs) -> Shapes:
    """Return the shape of one example without the batch; of several inputs a tuple or dict.

    >>> input_shape(torch.zeros(1, 3, 8, 8))
    (3, 8, 8)
    >>> input_shape({"tokens": torch.zeros(1, 16), "mask": torch.zeros(1, 16)})
    {'tokens': (16,), 'mask': (16,)}
    """
    if isinstance(example, Tensor):
        return tuple(example.shape[1:])
    if isinstance(example, dict):
        return {name: tuple(one.shape[1:]) for name, one in example.items()}
    return tuple(tuple(one.shape[1:]) for one in tensors_of(example))


def _sequence(tree: Any) -> Sequence[Any]:
    if isinstance(tree, tuple | list):
        return tree
    raise ValueError(
        f"expected a tensor or a tuple or dict of tensors, found a {type(tree).__name__}"
    )
