"""Bits of IEEE 754, and how many of them flip."""

import math

import pytest
import torch

from sparsekit.evaluation.faults import flip_bit, flip_bits

FLIPPED = {
    0.5: {31: -0.5, 30: 1.7014118346e38, 29: 2.71050543e-20, 23: 1.0, 22: 0.75, 0: 0.500000059605},
    -0.1: {31: 0.10000000149, 30: -3.40282371992e37, 29: -5.42101094321e-21, 23: -0.0500000007451},
    1.5: {31: -1.5, 30: math.nan, 29: 8.13151629364e-20, 23: 0.75, 22: 1.0, 0: 1.50000011921},
}


@pytest.mark.parametrize(
    ("value", "bit", "expected"),
    [(value, bit, to) for value, bits in FLIPPED.items() for bit, to in bits.items()],
)
def test_one_bit(value: float, bit: int, expected: float) -> None:
    weights = torch.tensor([[7.0, value]])
    found = flip_bit(weights, 1, bit)
    assert found[0, 1].item() == pytest.approx(expected, nan_ok=True)
    assert weights[0, 1].item() == pytest.approx(value)
    assert flip_bit(found, 1, bit).equal(weights), "flipped twice it is as before"


def test_as_many_as_expected_and_only_what_is_stored() -> None:
    weights = {"a": torch.ones(500, 4), "b": torch.ones(1000)}
    masks = {"a": torch.arange(2000).reshape(500, 4) % 10 == 0}
    generator = torch.Generator().manual_seed(0)
    counts = []
    for _ in range(50):
        found, count = flip_bits(weights, masks, rate=1e-3, generator=generator)
        changed = {name: found[name] != weights[name] for name in weights}
        assert not (changed["a"] & ~masks["a"]).any()
        counts.append(count)
        assert sum(int(one.sum()) for one in changed.values()) <= count
    expected = 32 * (200 + 1000) * 1e-3
    assert sum(counts) / 50 == pytest.approx(expected, rel=0.1)
    assert len(set(counts)) > 5


def test_the_same_seed_flips_the_same_bits() -> None:
    weights = {"a": torch.randn(100)}
    first, second = (
        flip_bits(weights, {}, rate=0.01, generator=torch.Generator().manual_seed(3))[0]["a"]
        for _ in range(2)
    )
    assert first.view(torch.int32).equal(second.view(torch.int32))
    assert not first.equal(weights["a"])
    none, count = flip_bits(weights, {}, rate=0.0, generator=torch.Generator())
    assert (none["a"].equal(weights["a"]), count) == (True, 0)


def test_other_numbers_have_other_bits() -> None:
    with pytest.raises(ValueError, match=r"bit 3 of torch\.float64"):
        flip_bit(torch.ones(1, dtype=torch.float64), 0, 3)
