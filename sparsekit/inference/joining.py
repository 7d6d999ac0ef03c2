"""Convolutions that are computed together, tile by tile of their columns.

In the large images of a network's first stages, sparse products wait for memory: each result is
written and read again before it is small enough to stay near. So residual blocks are computed a
tile at a time: what a convolution leaves for the next one stays in a near cache, is not written
where nobody else reads it, and is written with the borders that its reader wants.
"""

from __future__ import annotations

import ctypes
import functools
from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn

from sparsekit.inference.blocking import blocked
from sparsekit.inference.convolving import VECTORS, blocks_of, places, read_by, with_borders
from sparsekit.inference.graph import Graph, Node
from sparsekit.inference.grouping import Group, groups
from sparsekit.inference.layers import SparseConv2d
from sparsekit.inference.library import CStage, Kernel, Library, library
from sparsekit.inference.planes import (
    LONG_RUN,
    NARROWEST,
    Reading,
    Runs,
    empty_images,
    images,
    in_planes,
    reading,
)
from sparsekit.inference.stages import Part, Read, into_, stage_of

_IN_PLACE = Reading((1, 0, 0, 0, 0))
"""How results are read that lie as they were written."""


def joined(graph: Graph, layers: Mapping[str, nn.Module | None]) -> dict[Group, Joined]:
    """Return which nodes are computed together, and by what; `layers` by the names of nodes."""
    kernels = library()
    if kernels is None or kernels.slicing.lanes < NARROWEST:
        return {}
    found = {}
    for group in groups(graph):
        if all(isinstance(layers[node.name], SparseConv2d) for node in group.members()):
            found[group] = Joined(kernels, group, layers)
    return found


class Deferred(NamedTuple):
    """What a layer reads that is computed later, with the group it belongs to."""

    x: Tensor


@dataclass(frozen=True, eq=False)
class _Plan:
    """How a group meets images: `runs` of `length` columns of results [N, H, W] = `size`.

    `before` is None where that layer was computed by itself. `copies` are how what `first` and
    `after` return is read, if it is written as their readers copy it.
    """

    before: Part | None
    parts: tuple[Part, ...]
    after: Part | None
    copies: tuple[Reading | None, Reading | None]
    runs: int
    length: int
    size: tuple[int, int, int]


class Joined:
    """A group of layers bound to its kernel: `early` is called for `before`, the rest by a call.

    It takes what `first` and `added` read, see `Group.reads`. It returns what `first` does, images
    [N, out, H, W], and if there is `after` a pair of both. With `overwrite` the sum may lie where
    the residual was.
    """

    def __init__(
        self, kernels: Library, group: Group, layers: Mapping[str, nn.Module | None]
    ) -> None:
        def layer(node: Node | None) -> SparseConv2d | None:
            found = None if node is None else layers[node.name]
            return found if isinstance(found, SparseConv2d) else None

        first, added = layer(group.first), layer(group.added)
        assert first is not None
        self._library, self._first, self._added = kernels, first, added
        self._before, self._inner = layer(group.before), int(group.is_inner)
        self._after = layer(group.after)
        self._other, self._reader = layer(group.other), layer(group.reader)
        self._summed = (first,) if added is None else (first, added)
        biases = [one.bias for one in self._summed if one.bias is not None]
        self._bias = sum(biases[1:], biases[0]) if biases else None
        self._kernel: Kernel = kernels.function("joined", first.rows.values.dtype, torch.int32)
        self._plans: dict[tuple[int, ...], _Plan | None] = {}
        self._defers: dict[tuple[int, int, int], bool] = {}

    def early(self, x: Tensor) -> Tensor | Deferred:
        """Return what `before` makes of x; deferred where the group will do that."""
        assert self._before is not None
        if not _is_usual(x) or x.shape[1] != self._before.in_channels:
            return self._before.forward(x)
        n, _, height, width = x.shape
        if (defers := self._defers.get((n, height, width))) is None:
            found = reading(self._before.shape, (n, height, width))
            lines, columns = self._before.shape.out_size(height, width)
            fits = found.is_whole or found.by_lines[:2] == (lines, columns * n)
            defers = self._defers[n, height, width] = fits and columns * n >= LONG_RUN
        return Deferred(x) if defers else self._before.forward(x)

    def __call__(
        self,
        x: Tensor | Deferred,
        residual: Tensor | Deferred | None = None,
        overwrite: bool = False,
    ) -> Tensor | tuple[Tensor, Tensor]:
        """Return the sum, or the sum and what `after` makes of it."""
        deferred = isinstance((x, residual)[self._inner], Deferred)
        read = [one.x if isinstance(one, Deferred) else one for one in (x, residual)]
        plan = self._plan(read, deferred=deferred)
        if plan is not None:
            return self._together(plan, read, overwrite)
        if deferred and self._before is not None:
            read[self._inner] = self._before(read[self._inner])
        if self._added is not None:
            read[1], overwrite = self._added(read[1]), True
        out: Tensor = self._first(*read, overwrite)
        return out if self._after is None else (out, self._after(out))

    def _together(
        self, plan: _Plan, read: list[Tensor | None], overwrite: bool
    ) -> Tensor | tuple[Tensor, Tensor]:
        stages, threads, (n, height, width) = [], torch.get_num_threads(), plan.size
        found = [self._read(part, x, threads) for part, x in zip(plan.parts, read, strict=False)]
        if plan.before is not None and self._before is not None:
            inputs = self._read(plan.before, read[self._inner], threads)
            stages.append(stage_of(self._before, self._before.bias, [plan.before], [inputs]))
        residual = read[1] if self._added is None else None
        size, strides = images(n, self._first.rows.num_rows, height, width)
        if (copy := plan.copies[0]) is not None:
            out = with_borders(self._library, copy, size, threads)
            residual = None if residual is None else in_planes(residual.expand(size))
        else:
            out, residual = places(size, strides, residual, overwrite=overwrite)
        stages.append(stage_of(self._first, self._bias, plan.parts, found))
        into_(stages[-1], out, residual)
        then = None
        if plan.after is not None and self._after is not None:
            then = self._place_after(plan, threads)
            near = stages[-1].y is None
            reads: Read = (None, 0, 0) if near else (out, out.stride(1), out.stride(2))
            stages.append(stage_of(self._after, self._after.bias, [plan.after], [reads]))
            into_(stages[-1], then, None)
        array = (CStage * len(stages))(*stages)
        if self._kernel(ctypes.addressof(array), len(stages), plan.runs, plan.length, threads):
            raise MemoryError("convolutions found no memory for what they leave each other")
        return out if then is None else (out, then)

    def _read(self, part: Part, x: Tensor | None, threads: int) -> Read:
        if part.reading is None or x is None:
            return None, 0, 0
        return *read_by(self._library, part.reading, x, threads), part.step

    def _place_after(self, plan: _Plan, threads: int) -> Tensor:
        assert self._after is not None
        n, height, width = plan.size
        size, strides = images(n, self._after.rows.num_rows, height, width)
        if (copy := plan.copies[1]) is not None:
            return with_borders(self._library, copy, size, threads)
        return empty_images(size, strides)

    def _plan(self, read: list[Tensor | None], *, deferred: bool) -> _Plan | None:
        """Return how images of these sizes are met; None where kernels cannot do it together."""
        given = [one for one in read if one is not None]
        if not all(map(_is_usual, given)):
            return None
        sizes = (int(deferred), *(extent for one in given for extent in one.shape))
        if sizes not in self._plans:
            shapes = [tuple(one.shape) for one in given]
            self._plans[sizes] = self._planned(shapes, self._before if deferred else None)
        return self._plans[sizes]

    def _planned(
        self, shapes: list[tuple[int, ...]], deferred: SparseConv2d | None
    ) -> _Plan | None:
        """Return the plan with as much together as images [N, C, H, W] allow."""
        if not self._fits(shapes, deferred):
            return None
        n, inner = shapes[0][0], self._inner
        images = [(height, width) for _, _, height, width in shapes]
        before = None
        if deferred is not None:
            before = reading(deferred.shape, (n, *images[inner]))
            images[inner] = deferred.shape.out_size(*images[inner])
        sums = list(zip(self._summed, images, strict=False))
        readings = [reading(layer.shape, (n, *image)) for layer, image in sums]
        sizes = {layer.shape.out_size(*image) for layer, image in sums}
        if len(sizes) > 1 or not all(one.is_whole for one in readings):
            return None
        ((height, width),) = sizes
        made = ((self._first, self._other), (self._after, self._reader))
        summed, after_it = (self._copy(one, reader, (n, height, width)) for one, reader in made)
        by_lines = before is not None or summed is not None or after_it is not None
        if not by_lines and self._after is None and self._added is None:
            return None
        runs, length = (height, width * n) if by_lines else (1, height * width * n)
        if length < NARROWEST:
            return None
        part = functools.partial(self._part, n, (runs, length, length, length, length))
        parts = tuple(
            part(layer, found, near=before is not None and number == inner)
            for number, (layer, found) in enumerate(zip(self._summed, readings, strict=True))
        )
        early = None if deferred is None or before is None else part(deferred, before)
        after = None if self._after is None else part(self._after, _IN_PLACE)
        return _Plan(early, parts, after, (summed, after_it), runs, length, (n, height, width))

    def _fits(self, shapes: list[tuple[int, ...]], before: SparseConv2d | None) -> bool:
        """Say whether all that is multiplied has the channels of its weight."""
        readers = [*self._summed]
        if before is not None:
            readers[self._inner] = before
            if before.rows.num_rows != self._summed[self._inner].in_channels:
                return False
        if self._after is not None and self._after.in_channels != self._first.rows.num_rows:
            return False
        return len(shapes) >= len(readers) and all(
            shape[:2] == (shapes[0][0], layer.in_channels)
            for layer, shape in zip(readers, shapes, strict=False)
        )

    def _copy(
        self, made_by: SparseConv2d | None, reader: SparseConv2d | None, size: tuple[int, int, int]
    ) -> Reading | None:
        """Return how `reader` reads what a layer returns, if it can be written so at once."""
        n, _, width = size
        if made_by is None or reader is None or width * n < LONG_RUN:
            return None
        found = reading(reader.shape, size)
        fits = found.copied and reader.in_channels == made_by.rows.num_rows
        whole = not found.has_gaps or VECTORS * self._library.slicing.lanes % n == 0
        return found if fits and whole else None

    def _part(
        self, n: int, runs: Runs, layer: SparseConv2d, found: Reading, *, near: bool = False
    ) -> Part:
        blocks = blocks_of(self._library, layer.rows, layer.shape, n, runs)
        where = None if near else found.offsets(layer.rows, layer.shape)
        where = layer.rows.columns.to(torch.int32) if where is None else where
        taps = layer.kernel_size[0] * layer.kernel_size[1]
        weight = blocked(layer.rows, blocks, taps=taps, offsets=where)
        step = runs[1] if found.is_whole else found.by_lines[2]
        return Part(weight, None if near else found, step)


def _is_usual(x: Tensor) -> bool:
    return x.device.type == "cpu" and x.dtype is torch.float32 and x.ndim == 4 and len(x) > 0
