"""Score, allocate, select: masks of whole networks and the records of reference loops."""

import math
from functools import partial

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sparsekit.core import allocate, patterns, scores
from sparsekit.core.counts import budget
from sparsekit.core.prune import apply, check_nested, collapsed, intersection, num_kept, prune

GLOBAL_MAGNITUDE = {
    "score": scores.magnitude,
    "allocate": allocate.globally,
    "pattern": patterns.unstructured,
}


def tensors(values: dict) -> dict[str, torch.Tensor]:
    return {name: torch.tensor(value) for name, value in values.items()}


def dense(weights: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {name: torch.ones_like(weight, dtype=torch.bool) for name, weight in weights.items()}


def test_prunes_the_smallest_and_changes_no_input() -> None:
    weights = {"a": torch.tensor([[1.0, -4.0]]), "b": torch.tensor([[3.0, -2.0]])}
    masks = dense(weights)
    kept = prune(weights, masks, None, num_kept=3, **GLOBAL_MAGNITUDE)
    assert {name: mask.int().tolist() for name, mask in kept.items()} == {
        "a": [[0, 1]],
        "b": [[1, 1]],
    }
    assert weights["a"].tolist() == [[1.0, -4.0]]
    assert masks["a"].all()


def test_what_is_pruned_stays_pruned_however_large() -> None:
    weights = {"a": torch.tensor([9.0, 1.0, 2.0])}
    masks = {"a": torch.tensor([False, True, True])}
    kept = prune(weights, masks, None, num_kept=1, **GLOBAL_MAGNITUDE)
    assert kept["a"].tolist() == [False, False, True]


def test_weights_without_a_mask_are_left_out() -> None:
    state = {"bias": torch.tensor([9.0, 9.0]), "a": torch.tensor([1.0, 2.0])}
    kept = prune(state, {"a": torch.ones(2).bool()}, None, num_kept=1, **GLOBAL_MAGNITUDE)
    assert list(kept) == ["a"]
    assert kept["a"].tolist() == [False, True]


@pytest.mark.parametrize(("kind", "score"), [("glob", scores.magnitude), ("lamp", scores.lamp)])
def test_rounds_of_forty_percent_equal_the_reference(vectors, kind, score) -> None:
    data = vectors("lamp")
    weights = tensors(data["weights"])
    masks = dense(weights)
    for record in data["rounds"][kind]:
        goal = budget(sum(num_kept(masks).values()), 0.4)
        masks = prune(weights, masks, None, num_kept=goal, **{**GLOBAL_MAGNITUDE, "score": score})
        assert list(num_kept(masks).values()) == record["kept"]
        if record["masks"]:
            found = [mask.flatten().int().tolist() for mask in masks.values()]
            assert found == record["masks"]
    assert sum(num_kept(masks).values()) == 16


def test_levels_of_open_lth_when_asked_for_its_counts(vectors) -> None:
    data = vectors("imp")
    weights = tensors(data["weights"])
    masks = dense(weights)
    for level in data["levels"]:
        masks = prune(weights, masks, None, num_kept=level["remaining"], **GLOBAL_MAGNITUDE)
        if level["masks"]:
            found = {name: mask.flatten().int().tolist() for name, mask in masks.items()}
            assert found == level["masks"]
    assert sum(num_kept(masks).values()) == 1


def test_swamp_prunes_the_average(vectors) -> None:
    data = vectors("swamp")["swamp"]
    masks = {"w": torch.tensor(data["mask"]).bool()}
    average = {"w": torch.tensor(data["particle_average"])}
    goal = budget(sum(num_kept(masks).values()), 0.2)
    assert goal == 3
    kept = prune(average, masks, None, num_kept=goal, **GLOBAL_MAGNITUDE)
    assert kept["w"].float().tolist() == data["prune_20pct_of_5_remaining(=1)_mask"]


def test_more_than_is_left_is_refused() -> None:
    masks = {"a": torch.tensor([True, False])}
    with pytest.raises(ValueError, match=r"cannot keep 2 .* largest feasible number is 1"):
        prune({"a": torch.ones(2)}, masks, None, num_kept=2, **GLOBAL_MAGNITUDE)


def test_a_network_of_no_weights_is_refused() -> None:
    masks = {"a": torch.tensor([True, False])}
    with pytest.raises(ValueError, match=r"cannot keep 0 .* smallest feasible number is 1"):
        prune({"a": torch.ones(2)}, masks, None, num_kept=0, **GLOBAL_MAGNITUDE)


def test_a_layer_that_the_pattern_does_not_fit_is_named() -> None:
    weights = {"a": torch.ones(2, 4), "bias": torch.ones(3)}
    parts = {
        "score": scores.magnitude,
        "allocate": lambda values, total: {"a": 4, "bias": 3},
        "pattern": partial(patterns.n_of_m, n=2, m=4),
    }
    with pytest.raises(ValueError, match=r"'bias': n of m needs inputs .* \(3,\)"):
        prune(weights, dense(weights), None, num_kept=7, **parts)


def test_vectors_are_pruned_like_any_layer() -> None:
    weights = {"a": torch.arange(1.0, 9.0).view(2, 4), "bias": torch.tensor([5.0, 0.5, 7.0])}
    in_rows = {"allocate": partial(allocate.in_whole_rows, allocate=allocate.uniform)}
    kept = prune(
        weights,
        dense(weights),
        None,
        num_kept=7,
        score=scores.magnitude,
        **in_rows,
        pattern=patterns.constant_fan_in,
    )
    assert {name: mask.int().tolist() for name, mask in kept.items()} == {
        "a": [[0, 0, 1, 1], [0, 0, 1, 1]],
        "bias": [1, 1, 1],
    }


def test_scores_that_are_no_numbers_are_refused() -> None:
    weights = {"a": torch.tensor([1.0, math.nan])}
    with pytest.raises(ValueError, match="'a' contain NaN"):
        prune(weights, dense(weights), None, num_kept=1, **GLOBAL_MAGNITUDE)


@pytest.mark.parametrize(
    ("part", "replacement", "message"),
    [
        ("score", lambda weights, masks, probe: {}, r"got the layers \[\]"),
        ("pattern", lambda values, count: values > 0, "kept 3 of 'a' instead of 1"),
    ],
)
def test_a_part_that_breaks_its_promise_is_refused(part, replacement, message) -> None:
    weights = {"a": torch.tensor([1.0, 2.0, 3.0])}
    with pytest.raises(ValueError, match=message):
        prune(weights, dense(weights), None, num_kept=1, **{**GLOBAL_MAGNITUDE, part: replacement})


def test_a_pattern_that_revives_is_refused() -> None:
    weights, masks = {"a": torch.ones(2)}, {"a": torch.tensor([False, True])}
    parts = {**GLOBAL_MAGNITUDE, "pattern": lambda values, count: torch.tensor([True, False])}
    with pytest.raises(ValueError, match="1 pruned weights of 'a' came back"):
        prune(weights, masks, None, num_kept=1, **parts)


@pytest.mark.parametrize(
    "masks", [{"b": torch.ones(2).bool()}, {"a": torch.ones(3).bool()}], ids=["name", "shape"]
)
def test_masks_that_do_not_fit_are_refused(masks) -> None:
    with pytest.raises(ValueError, match=r"'b'|shape \(3,\)"):
        prune({"a": torch.ones(2)}, masks, None, num_kept=1, **GLOBAL_MAGNITUDE)
    with pytest.raises(ValueError, match=r"'b'|shape \(3,\)"):
        apply({"a": torch.ones(2)}, masks)


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    cycles=st.lists(st.floats(0.0, 0.9), min_size=1, max_size=5),
    score=st.sampled_from([scores.magnitude, scores.lamp]),
    scheme=st.sampled_from([allocate.globally, allocate.uniform, allocate.erk]),
)
def test_cycles_are_exact_and_nested(seed, cycles, score, scheme) -> None:
    generator = torch.Generator().manual_seed(seed)
    shapes = {"a": (4, 3, 3, 3), "b": (5, 4), "c": (2, 5)}
    masks = {name: torch.ones(shape).bool() for name, shape in shapes.items()}
    for remove in cycles:
        weights = {name: torch.randn(shape, generator=generator) for name, shape in shapes.items()}
        goal = max(budget(sum(num_kept(masks).values()), remove), len(shapes))
        kept = prune(
            weights,
            masks,
            None,
            num_kept=goal,
            score=score,
            allocate=scheme,
            pattern=patterns.unstructured,
        )
        assert sum(num_kept(kept).values()) == goal
        check_nested(masks, kept)
        masks = kept


def test_apply_writes_positive_zeros_and_passes_the_rest_on() -> None:
    state = {"a": torch.tensor([-1.0, math.inf, 2.0]), "bias": torch.tensor([-3.0])}
    result = apply(state, {"a": torch.tensor([False, False, True])})
    assert result["a"].tolist() == [0.0, 0.0, 2.0]
    assert not result["a"].signbit().any()
    assert result["bias"] is state["bias"]
    assert list(result) == ["a", "bias"]
    assert state["a"].tolist() == [-1.0, math.inf, 2.0]


def test_intersection_keeps_what_all_keep() -> None:
    masks = [{"a": torch.tensor(row).bool()} for row in ([1, 1, 1, 0], [1, 1, 0, 1], [1, 0, 1, 1])]
    assert intersection(masks)["a"].int().tolist() == [1, 0, 0, 0]
    assert intersection(masks[:1])["a"].int().tolist() == [1, 1, 1, 0]
    assert intersection(masks[:1])["a"] is not masks[0]["a"]


def test_intersection_refuses_what_does_not_match() -> None:
    one = {"a": torch.ones(2).bool()}
    for others in ([], [one, {}], [one, {"a": torch.ones(3).bool()}]):
        with pytest.raises(ValueError, match=r"not defined|expected"):
            intersection(others)


def test_check_nested() -> None:
    wide, narrow = {"a": torch.tensor([True, True])}, {"a": torch.tensor([True, False])}
    check_nested(wide, narrow)
    check_nested(wide, wide)
    with pytest.raises(ValueError, match="1 pruned weights of 'a'"):
        check_nested(narrow, wide)


def test_collapsed_layers_are_named_in_order() -> None:
    empty, full = torch.zeros(2, 2).bool(), torch.ones(2, 2).bool()
    one = torch.tensor([[False, False], [False, True]])
    assert collapsed({"c": empty, "b": one, "a": empty, "d": full}) == ["c", "a"]
    assert collapsed({"b": one}) == []
