"""Bytes of stored networks, against sums written out by hand."""

from __future__ import annotations

from sparsekit.core.storage import Layer, stored_bytes

# A filter bank of 4 x (2 x 3 x 3) with one filter pruned, and a head of 10 x 4 that is dense.
CONVOLUTION = Layer(rows=4, columns=18, kept=12, active_rows=3, longest=5)
HEAD = Layer(rows=10, columns=4, kept=40, active_rows=10, longest=4)


def test_a_small_network_in_every_format() -> None:
    biases = 14
    assert stored_bytes({"conv": CONVOLUTION, "head": HEAD}, biases) == {
        "dense": 4 * (72 + 40 + 14),
        "csr": (4 * 12 + 4 * 12 + 4 * 5) + (4 * 40 + 4 * 40 + 4 * 11) + 4 * 14,
        "csr_16": (4 * 12 + 2 * 12 + 2 * 5) + (4 * 40 + 2 * 40 + 2 * 11) + 4 * 14,
        "condensed": (3 * 5 * (4 + 2) + 2 * 3) + 10 * 4 * (4 + 2) + 4 * 14,
        "bitmap": (4 * 12 + 9) + (4 * 40 + 5) + 4 * 14,
        "smallest": (4 * 12 + 9) + 4 * 40 + 4 * 14,
    }


def test_indices_are_wide_where_they_must_be() -> None:
    """70 000 columns need 32 bits; so do pointers to more than 65 535 weights."""
    wide = Layer(rows=1, columns=70_000, kept=10, active_rows=1, longest=10)
    assert stored_bytes({"a": wide}, 0)["csr_16"] == 10 * 8 + 2 * 2
    full = Layer(rows=2, columns=65_536, kept=70_000, active_rows=2, longest=40_000)
    found = stored_bytes({"a": full}, 0)
    assert found["csr_16"] == 70_000 * 6 + 3 * 4
    assert found["condensed"] == 2 * 40_000 * 6


def test_nothing_left_takes_nothing_but_pointers_and_bits() -> None:
    empty = Layer(rows=4, columns=16, kept=0, active_rows=0, longest=0)
    assert stored_bytes({"a": empty}, 0) == {
        "dense": 256, "csr": 20, "csr_16": 10, "condensed": 0, "bitmap": 8, "smallest": 0,
    }  # fmt: skip
