"""Merges: recorded soups, running means, interpolation."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from sparsekit.core import averaging


def never(state) -> float:
    raise AssertionError("this merge must not score")


def scalar(value: float, dtype: torch.dtype = torch.float32) -> dict[str, torch.Tensor]:
    return {"w": torch.tensor([value], dtype=dtype)}


def test_single_is_the_state_itself() -> None:
    state = scalar(2.0)
    assert averaging.single([state], never)["w"] is state["w"]
    for states in ([], [state, state]):
        with pytest.raises(ValueError, match=f"single state, got {len(states)}"):
            averaging.single(states, never)


def test_uniform_soup_equals_the_recorded_one(vectors) -> None:
    case = vectors("soups")["uniform_soup"]
    states = []
    for candidate in case["candidates"]:
        state = {name: torch.tensor(value) for name, value in candidate.items()}
        state["fc.weight_orig"] = state["fc.weight_orig"] * state["fc.weight_mask"]
        states.append(state)
    result = averaging.uniform_soup(states, never)
    assert result.pop("bn.num_batches_tracked").item() == 100  # ours: an integer, from the first
    assert case["result"].pop("bn.num_batches_tracked") == 101.0
    assert set(result) == set(case["result"])
    for name, value in case["result"].items():
        torch.testing.assert_close(result[name], torch.tensor(value), rtol=0, atol=1e-7)


def test_greedy_soup_equals_the_recorded_ones(vectors) -> None:
    for case in vectors("soups")["greedy_soup"]:
        states = [scalar(value) for value in case["values"]]
        result = averaging.greedy_soup(
            states, lambda state, case=case: 1 - abs(float(state["w"]) - case["target"])
        )
        expected = sum(case["values"][index] for index in case["selected"]) / len(case["selected"])
        assert float(result["w"]) == pytest.approx(expected, abs=1e-7)
        assert float(result["w"]) == case["soup_value"]


@pytest.mark.parametrize(
    ("values", "scores", "expected"),
    [
        ([1.0, 3.0], {1.0: 0.5, 3.0: 0.4, 2.0: 0.5}, 2.0),  # as good as before: it stays
        ([1.0, 3.0], {1.0: 0.5, 3.0: 0.4, 2.0: 0.49}, 1.0),
        ([3.0, 1.0], {1.0: 0.5, 3.0: 0.5, 2.0: 0.0}, 3.0),  # equal candidates: the first one
        # better than the best so far but not than the soup: 3 is out, though it beats 1 alone
        ([1.0, 2.0, 6.0], {1.0: 0.3, 2.0: 0.2, 6.0: 0.1, 1.5: 0.6, 3.0: 0.5}, 1.5),
        # raw candidates with equal weights: (1 + 2 + 6) / 3, not (1.5 + 6) / 2
        ([1.0, 2.0, 6.0], {1.0: 0.3, 2.0: 0.2, 6.0: 0.1, 1.5: 0.6, 3.0: 0.7}, 3.0),
        # a rejected candidate neither lowers the bar nor ends the search
        ([1.0, 2.0, 5.0], {1.0: 0.3, 2.0: 0.2, 5.0: 0.1, 1.5: 0.0, 3.0: 0.4}, 3.0),
        ([1.0, 2.0, 5.0], {1.0: 0.3, 2.0: 0.2, 5.0: 0.1, 1.5: 0.0, 3.0: 0.2}, 1.0),
    ],
)
def test_greedy_soup(values, scores, expected) -> None:
    result = averaging.greedy_soup(
        [scalar(value) for value in values], lambda state: scores[float(state["w"])]
    )
    assert float(result["w"]) == expected


def test_greedy_soup_scores_every_candidate_once() -> None:
    seen: list[float] = []

    def score(state) -> float:
        seen.append(float(state["w"]))
        return -seen[-1]

    averaging.greedy_soup([scalar(4.0), scalar(2.0), scalar(8.0)], score)
    assert seen == [4.0, 2.0, 8.0, 3.0, 5.0]


def test_greedy_soup_refuses_scores_that_are_no_numbers() -> None:
    with pytest.raises(ValueError, match="nan"):
        averaging.greedy_soup([scalar(1.0), scalar(2.0)], lambda state: float("nan"))


@pytest.mark.parametrize("merge", [averaging.uniform_soup, averaging.greedy_soup])
def test_a_soup_of_one_has_its_bits_but_not_its_memory(merge) -> None:
    state = {"w": torch.tensor([0.1, -0.0, 3e-45]), "n": torch.tensor(7)}
    result = merge([state], lambda state: 0.0)
    assert torch.equal(result["w"].view(torch.int32), state["w"].view(torch.int32))
    assert result["n"].item() == 7
    assert result["w"].data_ptr() != state["w"].data_ptr()


@pytest.mark.parametrize("merge", [averaging.uniform_soup, averaging.greedy_soup])
def test_soups_of_nothing_are_refused(merge) -> None:
    with pytest.raises(ValueError, match="no states"):
        merge([], lambda state: 0.0)


def test_averages_do_not_lose_reduced_precision() -> None:
    states = [scalar(2048.0, torch.float16)] + [scalar(1.0, torch.float16)] * 4
    result = averaging.uniform_soup(states, never)["w"]
    assert result.dtype == torch.float16
    assert float(result) == float(torch.tensor(2052 / 5, dtype=torch.float16))


@pytest.mark.parametrize("other", [{"v": torch.ones(1)}, {"w": torch.ones(2)}])
def test_states_that_differ_are_refused(other) -> None:
    one = scalar(1.0)
    calls = [
        lambda: averaging.uniform_soup([one, other], never),
        lambda: averaging.interpolate(one, other, 0.5),
        lambda: averaging.running_mean(one, 1, other),
    ]
    for call in calls:
        with pytest.raises(ValueError, match=r"states differ|has shape"):
            call()


def test_running_mean_equals_swamp(vectors) -> None:
    case = vectors("swamp")["swamp"]
    means = []
    for snapshots in case["snapshots[particle][snapshot][dim]"]:
        mean: dict[str, torch.Tensor] = {}
        for count, snapshot in enumerate(snapshots):
            new = {"w": torch.tensor(snapshot, dtype=torch.float64)}
            mean = averaging.running_mean(mean, count, new)
        means.append(mean)
    for mean, expected in zip(means, case["particle_swa"], strict=True):
        assert mean["w"].tolist() == pytest.approx(expected, abs=1e-12)
    average = averaging.uniform_soup(means, never)["w"]
    assert average.tolist() == pytest.approx(case["particle_average"], abs=1e-12)
    assert (average[torch.tensor(case["mask"]) == 0] == 0).all()


@given(st.lists(st.floats(-1e3, 1e3, width=32), min_size=1, max_size=20))
def test_running_mean_is_the_mean(values: list[float]) -> None:
    mean: dict[str, torch.Tensor] = {}
    for count, value in enumerate(values):
        mean = averaging.running_mean(mean, count, scalar(value) | {"n": torch.tensor(count)})
    assert mean["w"].dtype == torch.float64
    assert float(mean["w"]) == pytest.approx(sum(values) / len(values), abs=1e-9)
    assert mean["n"].item() == 0


def test_running_mean_changes_no_input_and_refuses_a_negative_count() -> None:
    mean, new = scalar(1.0, torch.float64), scalar(3.0)
    averaging.running_mean(mean, 1, new)
    assert float(mean["w"]) == 1.0
    assert float(new["w"]) == 3.0
    with pytest.raises(ValueError, match="got -1"):
        averaging.running_mean(mean, -1, new)


def test_interpolation_is_exact_at_the_ends_and_straight_between() -> None:
    a = {"w": torch.tensor([0.1, 2.0]), "n": torch.tensor(3)}
    b = {"w": torch.tensor([0.7, -2.0]), "n": torch.tensor(5)}
    assert torch.equal(averaging.interpolate(a, b, 0.0)["w"], a["w"])
    assert torch.equal(averaging.interpolate(a, b, 1.0)["w"], b["w"])
    assert averaging.interpolate(a, b, 0.25)["w"].tolist() == pytest.approx([0.25, 1.0])
    assert averaging.interpolate(a, b, 2.0)["w"][1].item() == -6.0
    assert averaging.interpolate(a, b, 0.5)["n"].item() == 3
