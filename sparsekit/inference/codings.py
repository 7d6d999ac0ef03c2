"""How a weight and its mask are stored: each coding in both directions, in plain tensors.

Encoding says what is kept by the mask, never by a value: kept zeros come back as kept. Decoding
takes nothing for granted: ValueError for whatever encoding cannot have written.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from sparsekit.inference.gaps import decode_gaps, encode_gaps
from sparsekit.inference.packing import pack, pack_bits, unpack, unpack_bits
from sparsekit.inference.rows import DTYPES, NARROW, SparseRows, sparse_rows

Parts = dict[str, Tensor]
Decoded = tuple[Tensor, Tensor]
GROUP, OF_GROUP = 4, 2
NONE = (1, 0)
"""The positions of a 2:4 group that keeps nothing; one that keeps a single weight has it twice."""


@dataclass(frozen=True)
class Coding:
    """encode: (weight, mask, dtype of the values) -> parts; decode: (parts, shape) -> both."""

    encode: Callable[[Tensor, Tensor, torch.dtype], Parts]
    decode: Callable[[Mapping[str, Tensor], Sequence[int]], Decoded]


def encode_dense(weight: Tensor, mask: Tensor, dtype: torch.dtype) -> Parts:
    """Return all values, 0 where pruned, and the mask."""
    return {"values": (weight * mask).to(dtype), "mask": mask}


def decode_dense(parts: Mapping[str, Tensor], shape: Sequence[int]) -> Decoded:
    """Return weight and mask of `encode_dense`."""
    values, mask = _parts(parts, "values", "mask")
    _require(mask, "mask", torch.bool, shape)
    if (mask.view(torch.uint8) > 1).any():
        raise ValueError("the mask has entries that are neither true nor false")
    _require(values, "values", values.dtype, shape)
    return _floats(values) * mask, mask


def encode_csr(weight: Tensor, mask: Tensor, dtype: torch.dtype) -> Parts:
    """Return values, columns and row pointers; indices in 16 bits where all of an array fit."""
    return csr_parts(sparse_rows(*_matrices(weight, mask), dtype=dtype))


def csr_parts(rows: SparseRows) -> Parts:
    """Return the parts of `encode_csr` of what is row by row already."""
    narrow = torch.uint16 if rows.kept < NARROW else torch.int32
    return {"values": rows.values, "columns": rows.columns, "starts": rows.starts.to(narrow)}


def decode_csr(parts: Mapping[str, Tensor], shape: Sequence[int]) -> Decoded:
    """Return weight and mask of `encode_csr`."""
    return _both(csr_rows(parts, *_sizes(shape)), shape)


def csr_rows(parts: Mapping[str, Tensor], num_rows: int, num_columns: int) -> SparseRows:
    """Return rows whose indices are known to be in range, and ascending."""
    values, columns, starts = _parts(parts, "values", "columns", "starts")
    _require(starts, "starts", _index_type(len(values)), (num_rows + 1,))
    _require(columns, "columns", _index_type(num_columns - 1), (len(values),))
    _require(values, "values", values.dtype, (len(columns),))
    _floats(values)
    whole = starts.long()
    if int(whole[0]) or int(whole[-1]) != len(values) or (whole.diff() < 0).any():
        raise ValueError(f"row pointers do not lead from 0 to {len(values):,} in order")
    rows = SparseRows(values, columns, starts.to(torch.int32), num_columns)
    _require_ascending(rows.row_numbers() * num_columns, columns.long(), num_columns)
    return rows


def encode_condensed(weight: Tensor, mask: Tensor, dtype: torch.dtype) -> Parts:
    """Return values and columns [active rows, k], and which rows these are unless all are.

    ValueError unless every row keeps k weights or none.
    """
    return condensed_parts(sparse_rows(*_matrices(weight, mask), dtype=dtype))


def condensed_parts(rows: SparseRows) -> Parts:
    """Return the parts of `encode_condensed` of what is row by row already."""
    counts = rows.starts.diff()
    active = counts.nonzero().flatten()
    if not is_constant(rows):
        raise ValueError("its rows keep different numbers of weights")
    shape = (len(active), rows.kept // max(len(active), 1))
    parts = {"values": rows.values.view(shape), "columns": rows.columns.view(shape)}
    if len(active) < len(counts):
        parts["rows"] = active.to(_index_type(len(counts) - 1))
    return parts


def is_constant(rows: SparseRows) -> bool:
    """Say whether all rows that keep anything keep the same number of weights."""
    counts = rows.starts.diff()
    counts = counts[counts > 0]
    return not len(counts) or bool((counts == counts[0]).all())


def decode_condensed(parts: Mapping[str, Tensor], shape: Sequence[int]) -> Decoded:
    """Return weight and mask of `encode_condensed`."""
    return _both(condensed_rows(parts, *_sizes(shape)), shape)


def condensed_rows(parts: Mapping[str, Tensor], num_rows: int, num_columns: int) -> SparseRows:
    """Return rows whose indices are known to be in range, and ascending."""
    values, columns = _parts({**parts, "rows": torch.empty(0)}, "values", "columns", "rows")[:2]
    if values.ndim != 2:
        raise ValueError(f"values are a matrix of active rows, got {list(values.shape)}")
    active = parts.get("rows", torch.arange(num_rows).to(_index_type(num_rows - 1)))
    _require(active, "rows", _index_type(num_rows - 1), (len(values),))
    _require_ascending(torch.zeros(len(active), dtype=torch.int64), active.long(), num_rows)
    counts = torch.zeros(num_rows, dtype=torch.int64)
    counts[active.long()] = values.shape[1]
    starts = torch.cat([counts.new_zeros(1), counts.cumsum(0)]).to(_index_type(values.numel()))
    flat = {"values": values.flatten(), "columns": columns.flatten(), "starts": starts}
    return csr_rows(flat, num_rows, num_columns)


def encode_bitmap(weight: Tensor, mask: Tensor, dtype: torch.dtype) -> Parts:
    """Return the kept values, and one bit for every weight."""
    return {"values": weight[mask].to(dtype), "bits": pack_bits(mask.flatten())}


def decode_bitmap(parts: Mapping[str, Tensor], shape: Sequence[int]) -> Decoded:
    """Return weight and mask of `encode_bitmap`."""
    values, bits = _parts(parts, "values", "bits")
    return _placed(values, unpack_bits(bits, math.prod(shape)), shape)


def encode_by_gaps(weight: Tensor, mask: Tensor, dtype: torch.dtype) -> Parts:
    """Return the kept values, and the gaps between them."""
    return {"values": weight[mask].to(dtype), "gaps": encode_gaps(mask.flatten())}


def decode_by_gaps(parts: Mapping[str, Tensor], shape: Sequence[int]) -> Decoded:
    """Return weight and mask of `encode_by_gaps`."""
    values, gaps = _parts(parts, "values", "gaps")
    return _placed(values, decode_gaps(gaps, values.numel(), math.prod(shape)), shape)


def encode_two_four(weight: Tensor, mask: Tensor, dtype: torch.dtype) -> Parts:
    """Return two values of every four consecutive inputs, and their positions in 2 bits each.

    Groups run along dimension 1, as in hardware and in `core.patterns.n_of_m`: for a convolution
    they are input channels. ValueError unless every group keeps at most two.
    """
    if mask.ndim < 2 or mask.shape[1] % GROUP:
        raise ValueError(f"its inputs, of shape {list(mask.shape)}, do not divide into fours")
    values, kept = _grouped(weight), _grouped(mask)
    counts = kept.sum(1, keepdim=True)
    if (counts > OF_GROUP).any():
        raise ValueError(f"a group of four keeps {int(counts.max())}, not at most two")
    positions = (~kept).int().argsort(dim=1, stable=True)[:, :OF_GROUP]
    found = values.gather(1, positions) * (torch.arange(OF_GROUP) < counts)
    positions = torch.where(counts == 1, positions[:, :1], positions)
    positions = torch.where(counts == 0, torch.tensor(NONE), positions)
    return {"values": found.to(dtype), "positions": pack(positions.flatten(), width=2)}


def decode_two_four(parts: Mapping[str, Tensor], shape: Sequence[int]) -> Decoded:
    """Return weight and mask of `encode_two_four`."""
    values, packed = _parts(parts, "values", "positions")
    if len(shape) < 2 or shape[1] % GROUP:
        raise ValueError(f"inputs of shape {list(shape)} do not divide into fours")
    num_groups = math.prod(shape) // GROUP
    _require(values, "values", values.dtype, (num_groups, OF_GROUP))
    positions = unpack(packed, values.numel(), width=2).view(-1, OF_GROUP)
    first, second = positions.unbind(1)
    is_none = first > second
    if (positions[is_none] != torch.tensor(NONE)).any():
        raise ValueError("positions of a group are not in order")
    is_kept = torch.stack([~is_none, first < second], dim=1)
    if values[~is_kept].count_nonzero():
        raise ValueError("a pruned weight of a group has a value")
    kept = torch.zeros(num_groups, GROUP, dtype=torch.bool)
    kept.scatter_(1, first.unsqueeze(1), True)
    kept.scatter_(1, second.unsqueeze(1), True)
    kept[is_none] = False
    weight = torch.zeros(num_groups, GROUP)
    weight[kept] = _floats(values)[is_kept]
    return _ungrouped(weight, shape), _ungrouped(kept, shape)


CODINGS: Mapping[str, Coding] = {
    "dense": Coding(encode_dense, decode_dense),
    "csr": Coding(encode_csr, decode_csr),
    "condensed": Coding(encode_condensed, decode_condensed),
    "bitmap": Coding(encode_bitmap, decode_bitmap),
    "gaps": Coding(encode_by_gaps, decode_by_gaps),
    "two_four": Coding(encode_two_four, decode_two_four),
}


def num_bytes_of(parts: Mapping[str, Tensor]) -> int:
    """Return the bytes of all parts together."""
    return sum(tensor.numel() * tensor.element_size() for tensor in parts.values())


def _matrices(weight: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
    rows, columns = _sizes(weight.shape)
    return weight.reshape(rows, columns), mask.reshape(rows, columns)


def _sizes(shape: Sequence[int]) -> tuple[int, int]:
    return shape[0], math.prod(shape[1:])


def _both(rows: SparseRows, shape: Sequence[int]) -> Decoded:
    return rows.dense().view(*shape), rows.mask().view(*shape)


def _placed(values: Tensor, kept: Tensor, shape: Sequence[int]) -> Decoded:
    _require(values, "values", values.dtype, (int(kept.sum()),))
    weight = torch.zeros(kept.shape)
    weight[kept] = _floats(values)
    return weight.view(*shape), kept.view(*shape)


def _grouped(tensor: Tensor) -> Tensor:
    return tensor.movedim(1, -1).reshape(-1, GROUP)


def _ungrouped(groups: Tensor, shape: Sequence[int]) -> Tensor:
    inputs_last = (shape[0], *shape[2:], shape[1])
    return groups.view(inputs_last).movedim(-1, 1).contiguous()


def _floats(values: Tensor) -> Tensor:
    if values.dtype not in DTYPES:
        raise ValueError(f"values are {values.dtype}, which is none of {DTYPES}")
    return values.float()


def _index_type(largest: int) -> torch.dtype:
    return torch.uint16 if largest < NARROW else torch.int32


def _parts(parts: Mapping[str, Tensor], *names: str) -> list[Tensor]:
    if set(parts) != set(names):
        raise ValueError(f"expected {', '.join(names)}, got {', '.join(parts) or 'nothing'}")
    return [parts[name] for name in names]


def _require(tensor: Tensor, name: str, dtype: torch.dtype, shape: Sequence[int]) -> None:
    if tensor.dtype != dtype or tuple(tensor.shape) != tuple(shape):
        got = f"{tensor.dtype} {list(tensor.shape)}"
        raise ValueError(f"{name} must be {dtype} {list(shape)}, got {got}")


def _require_ascending(offsets: Tensor, indices: Tensor, most: int) -> None:
    """Refuse indices beyond `most`, and such as do not ascend where the offset is the same."""
    if len(indices) and not 0 <= int(indices.min()) <= int(indices.max()) < most:
        raise ValueError(f"an index is out of range: {int(indices.max()):,} of {most:,}")
    if ((offsets + indices).diff() <= 0).any():
        raise ValueError("indices do not ascend, or one stands twice")
