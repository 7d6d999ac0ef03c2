"""Sparse rows times columns on a GPU, in Triton: imported only where there is one."""

from __future__ import annotations

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from sparsekit.inference.layers import Activation
from sparsekit.inference.rows import SparseRows

WIDE = 64
"""Columns of the batch that a program takes at most: two for each lane of a warp."""
FARTHEST = 2**31


@triton.jit  # type: ignore[untyped-decorator]
def _multiply(  # type: ignore[no-untyped-def]
    x, values, columns, starts, bias, residual, out,
    num_rows, batch, x_step, x_across, residual_step, residual_across,
    NARROW: tl.constexpr, FAR: tl.constexpr, BIAS: tl.constexpr,
    RESIDUAL: tl.constexpr, RELU: tl.constexpr,
    ROWS: tl.constexpr, TAPS: tl.constexpr, BATCH: tl.constexpr,
):  # fmt: skip
    """Sum up ROWS outputs for BATCH examples, TAPS kept weights of each row at a time.

    x is read at column * x_step + example * x_across; out is [rows, batch], contiguous. Partial
    sums are added up once, at the end: what lies in several warps is brought together only then.
    """
    row = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
    example = tl.program_id(1) * BATCH + tl.arange(0, BATCH)
    is_row, is_example = row < num_rows, example < batch
    begin = tl.load(starts + row, mask=is_row, other=0)
    end = tl.load(starts + row + 1, mask=is_row, other=0)
    partial = tl.zeros((ROWS, TAPS, BATCH), dtype=tl.float32)
    for tap in range(0, tl.max(end - begin, axis=0), TAPS):
        place = begin[:, None] + tap + tl.arange(0, TAPS)[None, :]
        is_kept = place < end[:, None]
        column = tl.load(columns + place, mask=is_kept, other=0).to(tl.int32)
        if NARROW:  # 16 bits, told to Triton as signed
            column = column & 0xFFFF
        if FAR:  # more than 32 bits count
            column = column.to(tl.int64)
        value = tl.load(values + place, mask=is_kept, other=0).to(tl.float32)
        source = column[:, :, None] * x_step + example[None, None, :] * x_across
        seen = tl.load(x + source, mask=is_kept[:, :, None] & is_example[None, None, :], other=0)
        partial += value[:, :, None] * seen.to(tl.float32)
    sums = tl.sum(partial, axis=1)
    if FAR:
        row = row.to(tl.int64)
    if BIAS:
        sums += tl.load(bias + row, mask=is_row, other=0)[:, None]
    inside = is_row[:, None] & is_example[None, :]
    if RESIDUAL:
        added = row[:, None] * residual_step + example[None, :] * residual_across
        sums += tl.load(residual + added, mask=inside, other=0).to(tl.float32)
    if RELU:
        sums = tl.maximum(sums, 0.0)
    tl.store(out + row[:, None] * batch + example[None, :], sums, mask=inside)


def multiply(
    rows: SparseRows,
    x: Tensor,
    bias: Tensor | None,
    residual: Tensor | None,
    activation: Activation | None,
) -> Tensor:
    """Return activation(rows @ x + bias + residual) [rows, batch]; x [columns, batch].

    All on one device, with any strides; the type is that of x, the sum is float32.
    """
    batch = x.shape[1]
    out = torch.empty(rows.num_rows, batch, dtype=x.dtype, device=x.device)
    added = out if residual is None else residual
    far = max(_reach(one) for one in (x, out, added)) >= FARTHEST
    narrow = rows.columns.dtype == torch.uint16
    columns = rows.columns.view(torch.int16) if narrow else rows.columns
    num_rows, taps, width = blocks(batch)
    grid = (triton.cdiv(rows.num_rows, num_rows), triton.cdiv(batch, width))
    settings: dict[str, Any] = {"ROWS": num_rows, "TAPS": taps, "BATCH": width}
    if out.numel():
        _multiply[grid](
            x, rows.values, columns, rows.starts, out if bias is None else bias, added, out,
            rows.num_rows, batch, *x.stride(), *added.stride(),
            NARROW=narrow, FAR=far, BIAS=bias is not None, RESIDUAL=residual is not None,
            RELU=activation == "relu", **settings,
        )  # fmt: skip
    return out


def _reach(tensor: Tensor) -> int:
    return sum(step * size for step, size in zip(tensor.stride(), tensor.shape, strict=True))


def blocks(batch: int) -> tuple[int, int, int]:
    """Return how many rows, kept weights of each and examples a program takes at a time.

    Lanes lie along the kept weights for one example, along the batch for many: neighbours then
    read neighbouring values of a weight, or of x.

    >>> blocks(1), blocks(8), blocks(256)
    ((4, 128, 1), (4, 16, 8), (4, 4, 64))
    """
    width = min(WIDE, triton.next_power_of_2(batch))
    return 4, max(4, 128 // width), width
