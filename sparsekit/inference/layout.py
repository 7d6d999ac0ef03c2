"""Which tensors of a file are which parts of which weights: `layout.json`."""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from sparsekit.inference.codings import CODINGS, Parts, num_bytes_of

PLAIN = "plain"
"""The coding of a tensor without a mask: itself, as the part of the same name."""

LARGEST = 1 << 40
BYTES_OF_DECODED = 5


@dataclass(frozen=True, eq=False)
class Stored:
    """A tensor as it is stored: its parts in a coding, or another name of one before it."""

    name: str
    shape: tuple[int, ...] = ()
    coding: str = PLAIN
    parts: Parts = field(default_factory=dict)
    same_as: str | None = None


def plain(name: str, tensor: Tensor) -> Stored:
    """Return a tensor stored as it is."""
    return Stored(name, tuple(tensor.shape), parts={PLAIN: tensor})


def written(stored: Iterable[Stored]) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Return the value of a layout, and the tensors for the file beside it, NAME:PART."""
    entries: list[dict[str, Any]] = []
    tensors: dict[str, Tensor] = {}
    for one in stored:
        if one.same_as is not None:
            entries.append({"name": one.name, "same_as": one.same_as})
            continue
        entries.append({"name": one.name, "coding": one.coding, "shape": list(one.shape)})
        tensors |= {f"{one.name}:{part}": tensor for part, tensor in one.parts.items()}
    return {"tensors": entries}, tensors


def read(layout: Any, tensors: Mapping[str, Tensor]) -> list[Stored]:
    """Return what is stored, in its order, not yet decoded; ValueError for any other layout."""
    if not isinstance(layout, dict) or set(layout) != {"tensors"}:
        raise ValueError("the layout must have exactly tensors")
    by_name: dict[str, Parts] = {}
    for full_name, tensor in tensors.items():
        name, _, part = full_name.rpartition(":")
        by_name.setdefault(name, {})[part] = tensor
    stored: dict[str, Stored] = {}
    for entry in _entries(layout["tensors"]):
        if entry["name"] in stored:
            raise ValueError(f"{entry['name']} stands in the layout twice")
        stored[entry["name"]] = _stored(entry, by_name, stored)
    if by_name:
        raise ValueError(f"the layout says nothing of {', '.join(by_name)}")
    return list(stored.values())


def decoded(stored: Sequence[Stored]) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Return all tensors by name, 0 where pruned, and the masks of those that have one.

    Another name of a tensor is the same tensor. ValueError, naming the tensor, for parts that no
    encoding wrote, and for more numbers than this machine has memory for.
    """
    _require_memory(stored)
    state: dict[str, Tensor] = {}
    masks: dict[str, Tensor] = {}
    for one in stored:
        if one.same_as is not None:
            state[one.name] = state[one.same_as]
        elif one.coding == PLAIN:
            state[one.name] = _plain_tensor(one)
        else:
            try:
                state[one.name], masks[one.name] = CODINGS[one.coding].decode(one.parts, one.shape)
            except ValueError as error:
                raise ValueError(f"{one.name}, {one.coding}: {error}") from error
    return state, masks


def _plain_tensor(stored: Stored) -> Tensor:
    """Return a tensor that is stored as it is; ValueError where it has another shape."""
    if set(stored.parts) != {PLAIN} or tuple(stored.parts[PLAIN].shape) != stored.shape:
        raise ValueError(f"{stored.name} is not there in the shape {list(stored.shape)}")
    return stored.parts[PLAIN]


def _entries(entries: Any) -> Iterator[dict[str, Any]]:
    if not isinstance(entries, list):
        raise ValueError("the tensors of the layout must be a list")
    for entry in entries:
        is_named = isinstance(entry, dict) and isinstance(entry.get("name"), str)
        if not is_named or set(entry) not in ({"name", "coding", "shape"}, {"name", "same_as"}):
            raise ValueError(f"{entry!r} is no tensor of a layout")
        yield entry


def _stored(
    entry: Mapping[str, Any], by_name: dict[str, Parts], before: Mapping[str, Stored]
) -> Stored:
    name = entry["name"]
    if "same_as" in entry:
        if entry["same_as"] not in list(before) or before[entry["same_as"]].same_as is not None:
            raise ValueError(f"{name} is the same as {entry['same_as']!r}, which is not before it")
        return Stored(name, same_as=entry["same_as"])
    shape, coding = entry["shape"], entry["coding"]
    if coding not in (PLAIN, *CODINGS):
        raise ValueError(f"{name}: coding {coding!r} is none of {', '.join((PLAIN, *CODINGS))}")
    sizes = shape if isinstance(shape, list) else [-1]
    is_shape = all(type(size) is int and 0 <= size < LARGEST for size in sizes)
    if not is_shape or (not sizes and coding != PLAIN) or math.prod(sizes) >= LARGEST:
        raise ValueError(f"{name} has the shape {shape!r}")
    return Stored(name, tuple(sizes), coding, by_name.pop(name, {}))


def _require_memory(stored: Sequence[Stored]) -> None:
    """Refuse what says that it is larger than memory: few bytes may claim many pruned weights."""
    needed = sum(math.prod(one.shape) for one in stored if one.coding != PLAIN) * BYTES_OF_DECODED
    there = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    if needed > there:
        raise ValueError(f"it decodes to {needed:,} bytes, and this machine has {there:,}")


def encoded(
    name: str, weight: Tensor, mask: Tensor, codings: Sequence[str], dtype: torch.dtype
) -> Stored:
    """Return a weight in that of some codings in which it takes the fewest bytes.

    ValueError, naming the weight, where one of them cannot store it.
    """
    if weight.dtype != torch.float32:
        raise ValueError(f"{name} is {weight.dtype}; only float32 weights are exported")
    if mask.shape != weight.shape or not mask.ndim:
        raise ValueError(f"{name}: its mask has the shape {tuple(mask.shape)}")
    try:
        found = {coding: CODINGS[coding].encode(weight, mask, dtype) for coding in codings}
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from error
    best = min(found, key=lambda coding: num_bytes_of(found[coding]))
    return Stored(name, tuple(weight.shape), best, found[best])
