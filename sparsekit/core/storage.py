"""How many bytes a sparse weight takes in the common formats. Plain numbers, no tensors.

Values are float32. Weights are matrices: an output in every row, all that it sums over in the
columns. Indices are int32, or 16 bits wide where 16 bits hold every one of an array.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

VALUE = INT32 = 4
INT16 = 2


@dataclass(frozen=True)
class Layer:
    """A weight of `rows` x `columns`, `kept` of it in `active_rows`; `longest`: most of one row."""

    rows: int
    columns: int
    kept: int
    active_rows: int
    longest: int


def dense(layer: Layer) -> int:
    """Return the bytes of all weights, pruned or not.

    >>> dense(Layer(rows=3, columns=8, kept=6, active_rows=2, longest=4))
    96
    """
    return VALUE * layer.rows * layer.columns


def csr(layer: Layer) -> int:
    """Return the bytes of values, column indices and row pointers, int32.

    >>> csr(Layer(rows=3, columns=8, kept=6, active_rows=2, longest=4))  # 4 (6 + 6 + 3 + 1)
    64
    """
    return VALUE * layer.kept + INT32 * (layer.kept + layer.rows + 1)


def csr_16(layer: Layer) -> int:
    """Return the bytes of CSR whose index arrays are as narrow as they can be.

    >>> csr_16(Layer(rows=3, columns=8, kept=6, active_rows=2, longest=4))  # 4 * 6 + 2 (6 + 4)
    44
    """
    columns, pointers = index_bytes(layer.columns - 1), index_bytes(layer.kept)
    return (VALUE + columns) * layer.kept + pointers * (layer.rows + 1)


def condensed(layer: Layer) -> int:
    """Return the bytes of constant fan-in rows: values and column indices of each active row,
    padded to the longest, and the numbers of the active rows if not all are (Lasby et al. 2024).

    >>> condensed(Layer(rows=3, columns=8, kept=6, active_rows=2, longest=4))  # 2 * 4 * 6 + 2 * 2
    52
    """
    numbers = 0 if layer.active_rows == layer.rows else layer.active_rows
    entry = VALUE + index_bytes(layer.columns - 1)
    return entry * layer.active_rows * layer.longest + index_bytes(layer.rows - 1) * numbers


def bitmap(layer: Layer) -> int:
    """Return the bytes of the values, and of one bit for every weight.

    >>> bitmap(Layer(rows=3, columns=8, kept=6, active_rows=2, longest=4))
    27
    """
    return VALUE * layer.kept + -(-layer.rows * layer.columns // 8)


FORMATS: Mapping[str, Callable[[Layer], int]] = {
    "dense": dense, "csr": csr, "csr_16": csr_16, "condensed": condensed, "bitmap": bitmap,
}  # fmt: skip


def stored_bytes(layers: Mapping[str, Layer], num_others: int) -> dict[str, int]:
    """Return the bytes of a network by format, and with the `smallest` of them for each layer.

    `num_others`: parameters without a mask, which are dense in all.
    """
    by_layer = [{name: size(layer) for name, size in FORMATS.items()} for layer in layers.values()]
    found = {name: sum(one[name] for one in by_layer) for name in FORMATS}
    found["smallest"] = sum(min(one.values()) for one in by_layer)
    return {name: size + VALUE * num_others for name, size in found.items()}


def index_bytes(largest: int) -> int:
    """Return the width of indices up to `largest`.

    >>> index_bytes(65_535), index_bytes(65_536)
    (2, 4)
    """
    return INT16 if largest < 2**16 else INT32
