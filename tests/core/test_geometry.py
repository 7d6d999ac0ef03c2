"""Distances, angles, the barycentre, and errors along a line between two networks."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from sparsekit.core import averaging, geometry

NAMES = ["a", "b"]


def drawn(num: int, seed: int = 0) -> list[dict[str, torch.Tensor]]:
    """States of two parameters in float32, and a running mean that is far apart."""
    generator = torch.Generator().manual_seed(seed)
    return [
        {
            "a": torch.randn(3, 4, generator=generator),
            "b": torch.randn(5, generator=generator),
            "running_mean": torch.full((2,), 100.0 * index),
        }
        for index in range(num)
    ]


def flat(state: dict[str, torch.Tensor]) -> torch.Tensor:
    return torch.cat([state[name].flatten().double() for name in NAMES])


def plane(degrees: float, length: float) -> dict[str, torch.Tensor]:
    """A vector of two parameters in float64, `degrees` off the first axis."""
    radians = math.radians(degrees)
    return {
        "a": torch.tensor(length * math.cos(radians), dtype=torch.float64),
        "b": torch.tensor([[length * math.sin(radians)]], dtype=torch.float64),
    }


def test_distances_of_literal_states() -> None:
    states = [
        {"a": torch.tensor([[0.0, 0.0]]), "b": torch.tensor(0.0), "n": torch.tensor(9)},
        {"a": torch.tensor([[2.0, 3.0]]), "b": torch.tensor(6.0), "n": torch.tensor(5)},
        {"a": torch.tensor([[2.0, 0.0]]), "b": torch.tensor(2.0), "n": torch.tensor(7)},
    ]
    found = geometry.distances(states, NAMES)
    assert found == [[0, 7, math.sqrt(8)], [7, 0, 5], [math.sqrt(8), 5, 0]]
    assert geometry.distances(states, ["b"]) == [[0, 6, 2], [6, 0, 4], [2, 4, 0]]


def test_distances_and_angles_equal_those_of_one_long_vector() -> None:
    states = drawn(4)
    vectors = [flat(state) for state in states]
    distances, angles = geometry.distances(states, NAMES), geometry.angles(states, NAMES)
    for i, u in enumerate(vectors):
        for j, v in enumerate(vectors):
            assert distances[i][j] == pytest.approx(float((u - v).norm()), rel=1e-12)
            if i != j:
                cosine = float(u @ v / (u.norm() * v.norm()))
                assert angles[i][j] == pytest.approx(math.degrees(math.acos(cosine)), rel=1e-12)
    assert [angles[i][i] for i in range(4)] == [0.0] * 4


def test_distances_do_not_lose_float32_digits() -> None:
    states = [{"a": torch.tensor([2.0**24])}, {"a": torch.tensor([-1.0])}]
    assert geometry.distances(states, ["a"])[0][1] == 2.0**24 + 1


@pytest.mark.parametrize("degrees", [0.0, 1e-9, 1e-4, 30.0, 90.0, 135.0, 179.9999, 180.0])
def test_angles_are_accurate_everywhere(degrees: float) -> None:
    found = geometry.angles([plane(0.0, 3.0), plane(degrees, 0.01)], NAMES)[0][1]
    assert found == pytest.approx(degrees, rel=1e-12, abs=1e-14)


@given(
    st.floats(-180.0, 180.0),
    st.floats(-180.0, 180.0),
    st.floats(1e-3, 1e3),
    st.floats(1e-3, 1e3),
)
def test_the_angle_depends_on_directions_alone(first, second, length, other) -> None:
    between = abs(first - second)
    states = [plane(first, length), plane(second, other)]
    found = geometry.angles(states, NAMES)
    assert found[0][1] == found[1][0]
    assert found[0][1] == pytest.approx(min(between, 360 - between), abs=1e-12)


def test_a_state_without_a_direction_is_refused() -> None:
    with pytest.raises(ValueError, match="state 1 is 0 everywhere"):
        geometry.angles([plane(10.0, 1.0), plane(10.0, 0.0)], NAMES)


def test_the_barycentre_is_the_uniform_soup() -> None:
    states = drawn(5)
    soup = averaging.uniform_soup(
        [{name: state[name].double() for name in NAMES} for state in states], lambda state: 0.0
    )
    found = geometry.to_barycentre(states, NAMES)
    assert found == pytest.approx([float((flat(s) - flat(soup)).norm()) for s in states], rel=1e-12)


@pytest.mark.parametrize("num", [1, 2, 3, 6])
def test_squares_to_the_barycentre_are_half_the_mean_of_the_pairwise_ones(num: int) -> None:
    states = drawn(num, seed=3)
    pairwise = sum(d**2 for row in geometry.distances(states, NAMES) for d in row)
    to_centre = sum(d**2 for d in geometry.to_barycentre(states, NAMES))
    assert to_centre == pytest.approx(pairwise / (2 * num), rel=1e-12, abs=1e-14)


MEASURES = [geometry.distances, geometry.angles, geometry.to_barycentre]


@pytest.mark.parametrize("measure", MEASURES)
def test_geometry_refuses_names_and_shapes_that_do_not_fit(measure) -> None:
    states = drawn(2)
    with pytest.raises(ValueError, match=r"no tensors \['c'\] in a state with \['a', 'b', 'run"):
        measure(states, ["a", "c"])
    for some, names, message in ((states, [], "2 states and 0"), ([], NAMES, "0 states and 2")):
        with pytest.raises(ValueError, match=message):
            measure(some, names)
    states[1]["a"] = states[1]["a"].T
    with pytest.raises(ValueError, match=r"'a' has shape \(3, 4\) in one state, \(4, 3\)"):
        measure(states, NAMES)


@pytest.mark.parametrize("measure", MEASURES)
def test_geometry_changes_no_input(measure) -> None:
    states = [{name: tensor.double() for name, tensor in state.items()} for state in drawn(2)]
    copies = [{name: tensor.clone() for name, tensor in state.items()} for state in states]
    measure(states, NAMES)
    for state, copy in zip(states, copies, strict=True):
        assert all(torch.equal(state[name], copy[name]) for name in copy)


def test_instability_and_barrier_equal_the_recorded_ones(vectors) -> None:
    case = vectors("connectivity")["lmc"]
    found = geometry.instability(case["errors"])
    assert found == pytest.approx(case["instability_frankle(max - mean of endpoints)"], abs=1e-12)
    found = geometry.barrier(case["alphas"], case["errors"])
    assert found == pytest.approx(case["barrier_linear_baseline"], abs=1e-12)


@pytest.mark.parametrize(
    ("alphas", "errors", "instability", "barrier"),
    [
        ([0.0, 0.5, 1.0], [0.25, 0.5, 0.25], 0.25, 0.25),
        ([0.0, 0.5, 1.0], [0.25, 0.125, 0.25], 0.0, 0.0),  # a valley: the ends are the highest
        ([0.0, 0.5, 1.0], [0.0, 0.25, 0.5], 0.25, 0.0),  # straight to a worse end
        # the two are largest at different places
        ([0.0, 0.25, 0.75, 1.0], [0.0, 0.5, 0.75, 1.0], 0.5, 0.25),
        ([0.0, 0.25, 0.75, 1.0], [1.0, 0.75, 0.5, 0.0], 0.5, 0.25),
        ([0.0, 1.0], [0.25, 0.75], 0.25, 0.0),
    ],
)
def test_instability_and_barrier(alphas, errors, instability: float, barrier: float) -> None:
    assert geometry.instability(errors) == instability
    assert geometry.barrier(alphas, errors) == barrier


@given(st.lists(st.floats(0.0, 1.0), min_size=2, max_size=9), st.floats(-1.0, 1.0))
def test_a_slope_changes_the_instability_and_not_the_barrier(errors, slope: float) -> None:
    alphas = [index / (len(errors) - 1) for index in range(len(errors))]
    tilted = [error + slope * alpha for alpha, error in zip(alphas, errors, strict=True)]
    found = geometry.barrier(alphas, errors)
    assert found >= -1e-15
    assert geometry.barrier(alphas, tilted) == pytest.approx(found, abs=1e-12)
    half_gap = abs(errors[0] - errors[-1]) / 2
    assert geometry.instability(errors) <= found + half_gap + 1e-12
    assert geometry.instability(errors) >= half_gap - 1e-12


@pytest.mark.parametrize("errors", [[], [0.5], [0.5, math.nan], [math.nan, 0.5, 0.5]])
def test_errors_that_tell_nothing_are_refused(errors) -> None:
    for call in (geometry.instability, lambda errors: geometry.barrier([0.0, 1.0], errors)):
        with pytest.raises(ValueError, match="two errors or more"):
            call(errors)


def test_alphas_that_do_not_lead_from_end_to_end_are_refused() -> None:
    with pytest.raises(ValueError, match="each of 2 alphas, got 3"):
        geometry.barrier([0.0, 1.0], [0.1, 0.2, 0.3])
    for alphas in ([0.1, 0.5, 1.0], [0.0, 0.5, 0.9], [0.0, 0.0, 1.0], [1.0, 0.5, 0.0]):
        with pytest.raises(ValueError, match=r"ascend from 0 to 1, got \["):
            geometry.barrier(alphas, [0.1, 0.2, 0.3])
    with pytest.raises(ValueError, match="ascend"):
        geometry.barrier([0.0, math.nan, 1.0], [0.1, 0.2, 0.3])
