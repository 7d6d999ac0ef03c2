"""TIES: against a plain implementation on exact numbers, and literal task vectors."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from sparsekit.core import averaging
from sparsekit.core.counts import budget
from sparsekit.core.types import MergeContext


def never(state) -> float:
    raise AssertionError("this merge must not validate")


def scalar(value: float) -> dict[str, torch.Tensor]:
    return {"w": torch.tensor([value])}


def from_base(base: dict[str, torch.Tensor], num: int) -> MergeContext:
    return MergeContext(base=base, counts=(1,) * num)


def plain_ties(
    base: list[int], vectors: list[list[int]], density: float, scale: float
) -> list[float]:
    """TIES as its paper states it, on lists of exact numbers."""
    num_kept = budget(len(base), round(1 - density, 6))
    trimmed = []
    for vector in vectors:
        change = [value - start for value, start in zip(vector, base, strict=True)]
        ranked = sorted(range(len(change)), key=lambda index: -abs(change[index]))[:num_kept]
        trimmed.append([value if i in ranked else 0 for i, value in enumerate(change)])
    merged = []
    for column in zip(*trimmed, strict=True):
        elected = [value for value in column if value * sum(column) > 0]
        merged.append(sum(elected) / len(elected) if elected else 0.0)
    return [start + scale * value for start, value in zip(base, merged, strict=True)]


@given(st.integers(1, 4), st.integers(1, 9), st.data())
def test_ties_is_the_one_of_the_paper(num_states: int, size: int, data) -> None:
    whole = st.lists(st.integers(-3, 3), min_size=size, max_size=size)
    base, density = data.draw(whole), data.draw(st.integers(1, 10)) / 10
    vectors = data.draw(st.lists(whole, min_size=num_states, max_size=num_states))
    cut, scale = data.draw(st.integers(0, size)), data.draw(st.sampled_from([0.0, 0.5, 1.0]))

    def state(values: list[int]) -> dict[str, torch.Tensor]:  # two tensors, one task vector
        floats = torch.tensor(values, dtype=torch.float64)
        return {"a": floats[:cut], "n": torch.tensor(3), "b": floats[cut:].view(1, -1)}

    states = [state(values) for values in vectors]
    context = from_base(state(base), num_states)
    result = averaging.ties(states, never, context, density=density, scale=scale)
    found = result["a"].tolist() + result["b"].flatten().tolist()
    assert found == pytest.approx(plain_ties(base, vectors, density, scale), abs=1e-12)


# one row per state; the first tensor holds two entries, the second two
CHANGES = [
    ([4.0, -9.0], [0.0, 2.0]),
    ([2.0, 3.0], [1.0, -2.0]),
    ([-1.0, 5.0], [1.0, 0.0]),
]


@pytest.mark.parametrize(
    ("density", "scale", "expected"),
    [
        # 4 and 2 outvote -1; -9 outvotes 3 and 5; 1 and 1 agree; 2 - 2 elects nothing
        (1.0, 1.0, ([3.0, -9.0], [1.0, 0.0])),
        # two of the four in each: 4 -9, then 2 3 (the first 2 of three), then 5 and the first 1
        (0.5, 1.0, ([3.0, -9.0], [0.0, 0.0])),
        # one in each: -9, 3, 5
        (0.25, 1.0, ([0.0, -9.0], [0.0, 0.0])),
        (0.25, 0.5, ([0.0, -4.5], [0.0, 0.0])),
        (0.1, 1.0, ([0.0, 0.0], [0.0, 0.0])),  # round(0.4) = 0 in each
    ],
)
def test_ties_of_literal_task_vectors(density, scale, expected) -> None:
    base = {"a": torch.full((2,), 10.0), "b": torch.full((2,), 20.0)}
    states = [{"a": 10 + torch.tensor(a), "b": 20 + torch.tensor(b)} for a, b in CHANGES]
    result = averaging.ties(states, never, from_base(base, 3), density=density, scale=scale)
    assert ((result["a"] - 10).tolist(), (result["b"] - 20).tolist()) == expected


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [
        ([1.0, 2.0, 2.0, 2.0], [0.0, 0.0, 0.0, 0.0], [0.0, 2.0, 2.0, 0.0]),  # the lowest index
        ([5.0, 4.0, 0.0, 0.0], [0.0, -9.0, 8.0, 0.0], [5.0, -9.0, 8.0, 0.0]),
        ([5.0, 4.0, 0.0, 0.0], [4.0, -4.0, 0.0, 0.0], [4.5, 0.0, 0.0, 0.0]),  # 4 - 4: the base
        ([5.0, 4.0, 3.0, 0.0], [0.0, 1.0, 3.0, -2.0], [5.0, 4.0, 3.0, -2.0]),  # trimmed: no vote
    ],
)
def test_ties_keeps_the_larger_half_of_each(first, second, expected) -> None:
    states = [{"w": torch.tensor(values)} for values in (first, second)]
    context = from_base({"w": torch.zeros(4)}, 2)
    assert averaging.ties(states, never, context, density=0.5)["w"].tolist() == expected


def test_ties_keeps_a_fifth_unless_told_otherwise() -> None:
    context = from_base({"w": torch.zeros(1000)}, 1)
    result = averaging.ties([{"w": torch.arange(1000.0)}], never, context)["w"]
    assert result.nonzero().flatten().tolist() == list(range(800, 1000))


def test_ties_keeps_pruned_entries_at_zero_and_the_dtype() -> None:
    generator = torch.Generator().manual_seed(0)
    mask = torch.rand(50, 40, generator=generator) < 0.1
    base, *states = (
        {"w": (torch.randn(50, 40, generator=generator) * mask).bfloat16()} for _ in range(4)
    )
    result = averaging.ties(states, never, from_base(base, 3), density=1.0)["w"]
    assert result.dtype == torch.bfloat16
    assert torch.equal(result != 0, mask)
    assert not torch.equal(result, averaging.uniform_soup(states, never)["w"])


def test_ties_of_one_untrimmed_state_is_that_state() -> None:
    base, state = scalar(0.1), scalar(0.7)
    result = averaging.ties([state], never, from_base(base, 1), density=1.0)
    assert torch.equal(result["w"], state["w"])


def test_ties_refuses_what_it_cannot_use() -> None:
    states, base = [scalar(1.0), scalar(2.0)], from_base(scalar(0.0), 2)
    for context in (None, MergeContext(base=None, counts=(1, 1))):
        with pytest.raises(ValueError, match="needs one base"):
            averaging.ties(states, never, context)
    for density in (0.0, -0.5, 1.1, math.nan):
        with pytest.raises(ValueError, match=rf"density must lie in \(0, 1\], got {density}"):
            averaging.ties(states, never, base, density=density)
    for scale in (-1.0, math.nan, math.inf):
        with pytest.raises(ValueError, match=f"scale must be .* got {scale}"):
            averaging.ties(states, never, base, scale=scale)
    with pytest.raises(ValueError, match="'w' is not finite"):
        averaging.ties([scalar(1.0), scalar(math.nan)], never, base)
    with pytest.raises(ValueError, match="states differ in"):
        averaging.ties(states, never, from_base({"v": torch.ones(1)}, 2))
