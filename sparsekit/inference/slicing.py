"""Weights for few samples, in slices: rows that the lanes of a register compute at once.

Sliced ELLPACK (Monakov et al. 2010) in two parts. In each block of inputs the rows of a slice have
the same number of slots, and read inputs from registers, which takes a fraction of the time of a
gather and pays for slots that stay empty. What finds no slot is gathered, as in Bell and Garland
(2009). The kernels are kernels/sliced.h and ellpack.h.
"""

from __future__ import annotations

import ctypes
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from sparsekit.inference.library import CSliced, Library, Slicing
from sparsekit.inference.memory import copied
from sparsekit.inference.rows import SparseRows

MOST_SLOTS = 8
"""Slots that a slice has in each block at most; the kernels have no code for more."""

_GATHER = 2.0
"""Cost of a gathered weight for each row of a slice, in lines of slots; see `_slots_of_slices`."""


@dataclass(frozen=True, eq=False)
class Sliced:
    """The struct that kernels are called with, and the arrays that it points to."""

    weight: CSliced
    address: int
    arrays: tuple[Tensor, ...]


@dataclass(frozen=True, eq=False)
class _Entries:
    """Kept weights: their row, block of inputs, place in it, and rank among those of both."""

    row: Tensor
    block: Tensor
    place: Tensor
    rank: Tensor


@dataclass(frozen=True)
class _Step:
    """So many blocks with so many slots each lie in lines of places, then lines of values."""

    slots: int
    blocks: int
    places: int
    lines: int
    number: int

    @property
    def all_lines(self) -> int:
        """Return the lines of all steps of a slice."""
        return self.number * self.lines

    def fits(self, entries: _Entries) -> Tensor:
        """Say which weights find a slot."""
        return (entries.rank < self.slots) & (entries.block < self.number * self.blocks)


def sliced(rows: SparseRows, library: Library, *, relu: bool) -> Sliced:
    """Return a weight as the kernel `few` reads it."""
    slicing = library.slicing
    entries, steps = _entries(rows, slicing.block), _steps(rows, slicing)
    order, position, slots = _arranged(rows, entries, steps, slicing)
    lines, firsts, kept = _lines(rows, entries, steps, slots, position, slicing)
    arrays = (order.to(torch.int32), lines, firsts, slots.to(torch.int32), kept.to(torch.int32))
    blocks = rows.num_columns // slicing.block if slicing.block else 0
    weight = CSliced(
        rows.num_rows, rows.num_columns, *(one.data_ptr() for one in arrays),
        blocks * slicing.block, int(library.gathers), int(relu),
    )  # fmt: skip
    return Sliced(weight, ctypes.addressof(weight), arrays)


def _entries(rows: SparseRows, block: int) -> _Entries:
    row, columns = rows.row_numbers(), rows.columns.long()
    number = columns // block if block else torch.zeros_like(columns)
    runs = _run_lengths(row * (rows.num_columns + 1) + number)
    return _Entries(row, number, columns - number * block, _ranks(runs))


def _steps(rows: SparseRows, slicing: Slicing) -> list[_Step]:
    """Return the steps for 1, 2, ... slots; none where no register holds a block."""
    found = []
    for slots in range(1, MOST_SLOTS + 1) if slicing.block else ():
        blocks = max(1, slicing.per_line // slots)
        places = -(-blocks * slots // slicing.per_line)
        values = -(-blocks * slots * rows.values.element_size() // 4)
        number = rows.num_columns // slicing.block // blocks
        found.append(_Step(slots, blocks, places, places + values, number))
    return found


def _arranged(
    rows: SparseRows, entries: _Entries, steps: list[_Step], slicing: Slicing
) -> tuple[Tensor, Tensor, Tensor]:
    """Return the order of rows, the position of each in it, and how many slots each slice has.

    Rows that leave equally many weights to be gathered come together, so that none waits.
    """
    left = torch.stack([
        torch.bincount(entries.row, minlength=rows.num_rows),
        *(
            torch.bincount(entries.row[~step.fits(entries)], minlength=rows.num_rows)
            for step in steps
        ),
    ])  # fmt: skip
    lines = torch.tensor([0, *(step.all_lines for step in steps)])
    slots = (lines + left.float().mean(1) * _GATHER).argmin()
    order = left[slots].argsort(stable=True)
    position = torch.empty_like(order)
    position[order] = torch.arange(rows.num_rows)
    filled = F.pad(left[:, order], (0, -rows.num_rows % slicing.lanes))
    longest = filled.view(len(lines), -(-rows.num_rows // slicing.lanes), slicing.lanes).amax(2)
    return order, position, (lines[:, None] + longest * _GATHER).argmin(0)


def _lines(
    rows: SparseRows,
    entries: _Entries,
    steps: list[_Step],
    slots: Tensor,
    position: Tensor,
    slicing: Slicing,
) -> tuple[Tensor, Tensor, Tensor]:
    """Return all lines, where each slice begins in them, and how many weights its rows gather."""
    number = position[entries.row] // slicing.lanes
    fits = torch.zeros(rows.kept, dtype=torch.bool)
    for step in steps:
        fits |= step.fits(entries) & (slots[number] == step.slots)
    gathered = torch.zeros(len(slots) * slicing.lanes, dtype=torch.int64)
    gathered[position] = torch.bincount(entries.row[~fits], minlength=rows.num_rows)
    kept = gathered.view(-1, slicing.lanes).amax(1)
    of_slots = torch.tensor([0, *(step.all_lines for step in steps)])[slots]
    of_indices = -(-kept * rows.columns.element_size() // 4)
    of_values = -(-kept * rows.values.element_size() // 4)
    firsts = F.pad(((of_slots + of_indices + of_values) * slicing.lanes).cumsum(0), (1, 0))
    lines = torch.zeros(int(firsts[-1]), dtype=torch.int32)
    lane = position[entries.row] % slicing.lanes
    for step in steps:
        which = (fits & (slots[number] == step.slots)).nonzero().flatten()
        _put_in_slots_(lines, rows, entries, which, step, (firsts[number] + lane)[which], slicing)
    which = (~fits).nonzero().flatten()
    rank = _ranks(_run_lengths(entries.row[which])) * slicing.lanes + lane[which]
    begin = firsts[number[which]] + of_slots[number[which]] * slicing.lanes
    _put_(lines, rows.columns[which], begin, rank)
    _put_(lines, rows.values[which], begin + of_indices[number[which]] * slicing.lanes, rank)
    return copied(lines), firsts, kept


def _put_in_slots_(
    lines: Tensor,
    rows: SparseRows,
    entries: _Entries,
    which: Tensor,
    step: _Step,
    begin: Tensor,
    slicing: Slicing,
) -> None:
    """Write places and values of some weights to the slots of their step."""
    block = entries.block[which]
    slot = block % step.blocks * step.slots + entries.rank[which]
    begin = begin + block // step.blocks * step.lines * slicing.lanes
    place = entries.place[which] << (slot % slicing.per_line * slicing.bits)
    lines.index_add_(0, begin + slot // slicing.per_line * slicing.lanes, place.to(torch.int32))
    per_line = 4 // rows.values.element_size()
    at = (begin + (step.places + slot // per_line) * slicing.lanes) * per_line + slot % per_line
    _put_(lines, rows.values[which], torch.zeros_like(at), at)


def _put_(lines: Tensor, elements: Tensor, begin: Tensor, at: Tensor) -> None:
    """Write elements of 2 or 4 bytes, each `at` so many elements behind a line."""
    size = elements.element_size()
    bits = torch.int16 if size == 2 else torch.int32
    lines.view(bits)[begin * (4 // size) + at] = elements.view(bits)


def _run_lengths(numbers: Tensor) -> Tensor:
    return torch.unique_consecutive(numbers, return_counts=True)[1]


def _ranks(runs: Tensor) -> Tensor:
    """Count from 0 within each run.

    >>> _ranks(torch.tensor([2, 3]))
    tensor([0, 1, 0, 1, 2])
    """
    return torch.arange(int(runs.sum())) - torch.repeat_interleave(runs.cumsum(0) - runs, runs)
