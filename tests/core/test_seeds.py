"""Seeds that are the same on every machine and in every process."""

import itertools

import pytest

from sparsekit.core.seeds import derive


def test_golden_values() -> None:
    assert derive(0) == 8584251947051802233
    assert derive(1, "cycle", 2) == 8963570162428186158


def test_type_order_and_borders_of_the_parts_matter() -> None:
    parts = [(1,), ("1",), (1, 2), (2, 1), (12,), ("a", "b"), ("ab",), ("a", "", "b"), (-1,)]
    for one, other in itertools.combinations(parts, 2):
        assert derive(*one) != derive(*other), (one, other)


def test_seeds_fit_63_bits() -> None:
    seeds = [derive(index) for index in range(2000)]
    assert len(set(seeds)) == 2000
    assert min(seeds) >= 0
    assert 2**62 < max(seeds) < 2**63


@pytest.mark.parametrize("part", [1.0, True, None])
def test_other_parts_are_refused(part) -> None:
    with pytest.raises(ValueError, match=repr(part)):
        derive(0, part)


def test_no_parts_are_refused() -> None:
    with pytest.raises(ValueError, match="at least one"):
        derive()
