"""Stages: what the kernel of convolutions that are computed together is called with."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from sparsekit.inference.blocking import Blocked
from sparsekit.inference.layers import SparseConv2d
from sparsekit.inference.library import CPart, CPlaces, CStage, address
from sparsekit.inference.planes import Reading

_FAR = 8 << 20
"""Results of more bytes are written past the caches: they would not stay until they are read."""

Read = tuple[Tensor | None, int, int]
"""What a part reads, None for what the stage before left; what its indices are multiplied by, and
how far apart its lines are."""


@dataclass(frozen=True, eq=False)
class Part:
    """A weight and how it reads images, line by line `step` apart.

    It reads none where `reading` is None, but what the stage before has left.
    """

    weight: Blocked
    reading: Reading | None
    step: int


def stage_of(
    layer: SparseConv2d, bias: Tensor | None, parts: Sequence[Part], read: Sequence[Read]
) -> CStage:
    """Return a stage that leaves what it computes in near memory."""
    stage = CStage(num_parts=len(parts), rows=layer.rows.num_rows, bias=address(bias))
    stage.relu = int(layer.activation == "relu")
    for number, (part, (x, pitch, step)) in enumerate(zip(parts, read, strict=True)):
        index, value, starts, _, order, blocks = part.weight.addresses
        stage.parts[number] = CPart(index, value, starts, order, blocks, address(x), pitch, step)
    return stage


def into_(stage: CStage, out: Tensor, residual: Tensor | None) -> None:
    """Let a stage write to images [N, C, H, W], also with gaps, and read a residual.

    What is far when it is written, and was not read as the residual, goes there from near memory.
    """
    n, _, height, width = out.shape
    copy, start = getattr(out, "bordered", (None, None))
    if copy is not None:
        places = (address(start), copy.copied, n, *copy.halo)
    else:
        places = (out.data_ptr(), out.stride(1), n, 0, 0, 1, 1, 1, 1, height, width)
    if residual is not None:
        stage.residual, stage.residual_pitch = residual.data_ptr(), residual.stride(1)
        stage.residual_step = residual.stride(2)
    is_read = residual is not None and residual.data_ptr() == out.data_ptr()
    if (copy is not None and copy.has_gaps) or (not is_read and 4 * out.numel() > _FAR):
        stage.places = CPlaces(*places)
    else:
        stage.y, stage.y_pitch, stage.y_step = out.data_ptr(), out.stride(1), out.stride(2)
