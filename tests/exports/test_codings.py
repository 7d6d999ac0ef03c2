"""Each coding: its literal bytes, what comes back of it, and what it refuses."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from sparsekit.core.storage import Layer, bitmap, condensed, csr_16
from sparsekit.inference.codings import CODINGS, NONE, num_bytes_of
from sparsekit.inference.gaps import decode_gaps, encode_gaps
from sparsekit.inference.packing import pack, unpack

U8, U16, I32 = torch.uint8, torch.uint16, torch.int32
WEIGHT = torch.tensor([[1.0, 0.0, 0.0, 0.0], [0.0] * 4, [0.0, 0.0, 5.0, 6.0]])
MASK = torch.tensor([[True, True, False, False], [False] * 4, [False, False, True, True]])
"""Two of three rows keep two weights each, one of which is 0."""

PARTS: dict[str, dict[str, Tensor]] = {
    "dense": {"values": WEIGHT, "mask": MASK},
    "csr": {
        "values": torch.tensor([1.0, 0.0, 5.0, 6.0]),
        "columns": torch.tensor([0, 1, 2, 3], dtype=U16),
        "starts": torch.tensor([0, 2, 2, 4], dtype=U16),
    },
    "condensed": {
        "values": torch.tensor([[1.0, 0.0], [5.0, 6.0]]),
        "columns": torch.tensor([[0, 1], [2, 3]], dtype=U16),
        "rows": torch.tensor([0, 2], dtype=U16),
    },
    "bitmap": {
        "values": torch.tensor([1.0, 0.0, 5.0, 6.0]),
        "bits": torch.tensor([0b00000011, 0b1100], dtype=U8),
    },
    # Gaps 0, 0, 8, 0 in 3 bits each: 0, 0, 7 and 1, 0.
    "gaps": {
        "values": torch.tensor([1.0, 0.0, 5.0, 6.0]),
        "gaps": torch.tensor([1, 0b11111100, 0b0011], dtype=U8),
    },
    "two_four": {
        "values": torch.tensor([[1.0, 0.0], [0.0, 0.0], [5.0, 6.0]]),
        "positions": torch.tensor([0b00010100, 0b1110], dtype=U8),
    },
}


def same(first: Tensor, second: Tensor) -> bool:
    return first.dtype == second.dtype and first.equal(second)


@pytest.mark.parametrize("name", CODINGS)
def test_literal_parts(name: str) -> None:
    parts = CODINGS[name].encode(WEIGHT, MASK, torch.float32)
    assert list(parts) == list(PARTS[name])
    assert all(same(parts[part], PARTS[name][part]) for part in parts), parts
    weight, mask = CODINGS[name].decode(PARTS[name], (3, 4))
    assert same(weight, WEIGHT)
    assert same(mask, MASK)


def test_positions_of_groups_that_keep_fewer_than_two() -> None:
    mask = torch.tensor([[False, False, False, True, False, False, False, False]])
    parts = CODINGS["two_four"].encode(torch.full((1, 8), 3.0), mask, torch.float32)
    assert parts["values"].tolist() == [[3.0, 0.0], [0.0, 0.0]]
    assert unpack(parts["positions"], 4, width=2).tolist() == [3, 3, *NONE]
    assert CODINGS["two_four"].decode(parts, (1, 8))[1].equal(mask)


def test_groups_of_four_run_along_the_inputs() -> None:
    mask = torch.zeros(1, 4, 1, 3, dtype=torch.bool)
    mask[0, 1:3] = True
    weight = torch.arange(12.0).view(1, 4, 1, 3) * mask
    parts = CODINGS["two_four"].encode(weight, mask, torch.float32)
    assert parts["values"].tolist() == [[3.0, 6.0], [4.0, 7.0], [5.0, 8.0]]
    assert CODINGS["two_four"].decode(parts, mask.shape)[0].equal(weight)


def masks() -> st.SearchStrategy[Tensor]:
    """Masks of odd shapes and all densities, with empty and with full rows."""

    def drawn(shape: tuple[int, ...], density: float, seed: int) -> Tensor:
        generator = torch.Generator().manual_seed(seed)
        mask = torch.rand(shape, generator=generator) < density
        rows = torch.rand(shape[0], generator=generator)
        mask[rows < 0.2], mask[rows > 0.9] = False, True
        return mask

    sizes = st.integers(1, 9)
    shapes = st.tuples(sizes, sizes) | st.tuples(sizes, sizes, sizes, sizes) | st.tuples(sizes)
    densities = st.sampled_from([0.0, 0.01, 0.1, 0.5, 1.0])
    return st.builds(drawn, shapes, densities, st.integers(0, 99))


@pytest.mark.parametrize("name", ["dense", "csr", "bitmap", "gaps"])
@settings(max_examples=40, deadline=None)
@given(mask=masks(), seed=st.integers(0, 9))
def test_round_trips(name: str, mask: Tensor, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    weight = torch.randn(mask.shape, generator=generator).relu() * mask  # half of the kept are 0
    for dtype in (torch.float32, torch.bfloat16):
        parts = CODINGS[name].encode(weight, mask, dtype)
        found = CODINGS[name].decode(parts, mask.shape)
        assert same(found[0], weight.to(dtype).float())
        assert same(found[1], mask)


@settings(max_examples=40, deadline=None)
@given(mask=masks(), k=st.integers(0, 4), seed=st.integers(0, 9))
def test_round_trips_of_structured_masks(mask: Tensor, k: int, seed: int) -> None:
    weight = torch.randn(mask.shape, generator=torch.Generator().manual_seed(seed))
    some = mask.view(len(mask), -1).any(1, keepdim=True)
    constant = (torch.arange(weight[0].numel()).flip(0) < k).expand(len(mask), -1) & some
    constant = constant.reshape(mask.shape)
    found = CODINGS["condensed"].decode(
        CODINGS["condensed"].encode(weight, constant, torch.float32), mask.shape
    )
    assert same(found[0], weight * constant)
    assert same(found[1], constant)
    grouped = mask.reshape(-1, 1).repeat(1, 8)
    grouped[:, :3] &= torch.tensor([k % 2 == 1, False, k > 1])
    grouped[:, 4:] = torch.tensor([False, k > 2, False, True])
    grouped[:, 3] = False
    weight = torch.randn(grouped.shape, generator=torch.Generator().manual_seed(seed))
    found = CODINGS["two_four"].decode(
        CODINGS["two_four"].encode(weight, grouped, torch.float32), grouped.shape
    )
    assert same(found[0], weight * grouped)
    assert same(found[1], grouped)


@settings(max_examples=40, deadline=None)
@given(symbols=st.lists(st.integers(0, 2**11 - 1), max_size=40))
def test_symbols_of_many_widths(symbols: list[int]) -> None:
    for width in (11, 13):
        packed = pack(torch.tensor(symbols, dtype=torch.int64), width)
        assert len(packed) == math.ceil(len(symbols) * width / 8)
        assert unpack(packed, len(symbols), width).tolist() == symbols


def layer_of(mask: Tensor) -> Layer:
    counts = mask.sum(1)
    rows, columns = mask.shape
    return Layer(rows, columns, int(mask.sum()), int((counts > 0).sum()), int(counts.max()))


@pytest.mark.parametrize(("rows", "columns"), [(40, 70), (3, 70_000), (70_000, 4)])
def test_sizes_are_those_that_reports_count(rows: int, columns: int) -> None:
    mask = torch.zeros(rows, columns, dtype=torch.bool)
    mask[1:, 2:4] = True
    weight = mask.float()
    for name, formula in (("csr", csr_16), ("condensed", condensed), ("bitmap", bitmap)):
        parts = CODINGS[name].encode(weight, mask, torch.float32)
        assert num_bytes_of(parts) == formula(layer_of(mask)), name


@pytest.mark.parametrize(("sparsity", "most"), [(0.8, 0.224), (0.9, 0.117), (0.95, 0.0601)])
def test_gaps_take_little_more_than_the_values(sparsity: float, most: float) -> None:
    mask = torch.rand(300, 400, generator=torch.Generator().manual_seed(0)) > sparsity
    parts = CODINGS["gaps"].encode(torch.zeros(300, 400), mask, torch.float32)
    assert num_bytes_of(parts) / (4 * mask.numel()) < most


def changed(name: str, part: str, value: Any) -> dict[str, Tensor]:
    """The literal parts of a coding with another one in the place of `part`."""
    before = PARTS[name][part]
    return {**PARTS[name], part: torch.as_tensor(value).to(before.dtype)}


HOSTILE: dict[str, tuple[str, dict[str, Tensor], str]] = {
    "columns too large": ("csr", changed("csr", "columns", [0, 1, 2, 4]), "out of range: 4 of 4"),
    "columns twice": ("csr", changed("csr", "columns", [0, 1, 2, 2]), "do not ascend"),
    "pointers back": ("csr", changed("csr", "starts", [0, 3, 2, 4]), "in order"),
    "pointers beyond": ("csr", changed("csr", "starts", [0, 2, 2, 900]), "from 0 to 4"),
    "pointers begin late": ("csr", changed("csr", "starts", [1, 2, 2, 4]), "from 0 to 4"),
    "too few pointers": ("csr", changed("csr", "starts", [0, 4]), "starts must be"),
    "integers": ("csr", {**PARTS["csr"], "values": torch.arange(4)}, "values are torch.int64"),
    "a part missing": ("csr", {"values": torch.zeros(4)}, "expected values, columns, starts"),
    "rows too large": ("condensed", changed("condensed", "rows", [0, 3]), "out of range: 3 of 3"),
    "rows twice": ("condensed", changed("condensed", "rows", [0, 0]), "do not ascend"),
    "flat values": ("condensed", changed("condensed", "values", [1.0]), "a matrix"),
    "columns beyond": (
        "condensed", changed("condensed", "columns", [[0, 1], [2, 9]]), "out of range: 9 of 4",
    ),
    "a bit behind the last": ("bitmap", changed("bitmap", "bits", [3, 16 + 12]), "behind the last"),
    "bits missing": ("bitmap", changed("bitmap", "bits", [3]), "take 2 bytes"),
    "a bit too few": ("bitmap", changed("bitmap", "bits", [1, 12]), r"must be .* \[3\]"),
    "a gap too far": ("gaps", changed("gaps", "gaps", [8, 0, 0, 9, 0]), "leads to weight 12 of 12"),
    "a gap too few": ("gaps", changed("gaps", "gaps", [8, 0, 0, 8]), "3 gaps for 4"),
    "a gap too many": ("gaps", changed("gaps", "gaps", [8, 0, 0, 8, 0, 0]), "take 4 bytes"),
    "no gaps": ("gaps", {**PARTS["gaps"], "gaps": torch.zeros(0, dtype=U8)}, "begin with a width"),
    "gaps of no bits": ("gaps", changed("gaps", "gaps", [0, 0]), "got 0"),
    "gaps of 200 bits": ("gaps", changed("gaps", "gaps", [200, 0]), "got 200"),
    "groups out of order": (
        "two_four", changed("two_four", "positions", [0b00010010, 0b1110]), "not in order",
    ),
    "a value of a pruned weight": (
        "two_four", changed("two_four", "values", [[1, 0], [2, 0], [5, 6]]), "has a value",
    ),
    "a mask of other values": (
        "dense", {**PARTS["dense"], "mask": torch.full((3, 4), 7, dtype=U8).view(torch.bool)},
        "neither true nor false",
    ),
    "a mask of another shape": ("dense", changed("dense", "mask", [[True]]), "mask must be"),
}  # fmt: skip


@pytest.mark.parametrize("what", HOSTILE)
def test_what_no_encoding_wrote_is_refused(what: str) -> None:
    name, parts, message = HOSTILE[what]
    with pytest.raises(ValueError, match=message):
        CODINGS[name].decode(parts, (3, 4))


def test_masks_of_another_structure_are_refused() -> None:
    mask = torch.tensor([[True, True, True, False]])
    with pytest.raises(ValueError, match="keeps 3, not at most two"):
        CODINGS["two_four"].encode(mask.float(), mask, torch.float32)
    with pytest.raises(ValueError, match="do not divide into fours"):
        CODINGS["two_four"].encode(torch.ones(1, 3), torch.ones(1, 3).bool(), torch.float32)
    uneven = torch.tensor([[True, True], [True, False]])
    with pytest.raises(ValueError, match="different numbers"):
        CODINGS["condensed"].encode(uneven.float(), uneven, torch.float32)


def test_gaps_of_nothing() -> None:
    nothing = torch.zeros(9, dtype=torch.bool)
    assert encode_gaps(nothing).tolist() == [1]
    assert decode_gaps(encode_gaps(nothing), 0, 9).equal(nothing)
