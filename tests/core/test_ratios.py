"""The ratios of other methods: counts of theirs, positions of chance."""

import math
from functools import partial

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sparsekit.core import allocate, patterns, scores
from sparsekit.core.prune import check_nested, num_kept, prune
from sparsekit.core.ratios import redrawn, with_ratios_of

SHAPES = {"a": (6, 4, 3, 3), "b": (8, 8), "c": (5, 8)}
SIZE = 216 + 64 + 40
MAGNITUDE = partial(
    prune, score=scores.magnitude, allocate=allocate.globally, pattern=patterns.unstructured
)
UNSTRUCTURED = {"seed": 0, "pattern": patterns.unstructured}


def network(seed: int = 0) -> tuple[dict[str, torch.Tensor], dict[str, torch.Tensor]]:
    generator = torch.Generator().manual_seed(seed)
    weights = {name: torch.randn(shape, generator=generator) for name, shape in SHAPES.items()}
    weights["b"] *= 3
    return weights, {name: torch.ones(shape).bool() for name, shape in SHAPES.items()}


class Stored:
    """A probe that knows nothing but one ticket."""

    def __init__(self, masks: dict[str, torch.Tensor]) -> None:
        self.masks = masks

    def stored_masks(self, ticket: str) -> dict[str, torch.Tensor]:
        assert ticket == "ticket-1"
        return self.masks


@settings(max_examples=40, deadline=None)
@given(first=st.integers(1, SIZE), second=st.integers(1, SIZE), seed=st.integers(0, 1000))
def test_redrawn_keeps_the_counts_and_stays_in_what_is_left(first, second, seed) -> None:
    first, second = max(first, second), min(first, second)
    weights, masks = network(seed)
    left = MAGNITUDE(weights, masks, None, first)
    model = MAGNITUDE(weights, left, None, second)
    kept = redrawn(weights, left, None, second, prune=MAGNITUDE, **UNSTRUCTURED)
    assert num_kept(kept) == num_kept(model)
    check_nested(left, kept)


def test_positions_are_those_of_chance_and_not_of_the_model() -> None:
    weights, masks = network()
    model = MAGNITUDE(weights, masks, None, 100)
    kept = redrawn(weights, masks, None, 100, prune=MAGNITUDE, **UNSTRUCTURED)
    for name, mask in kept.items():
        drawn = scores.random(weights, masks, None, seed=0)[name]
        assert torch.equal(mask, patterns.unstructured(drawn, int(model[name].sum())))
        assert not torch.equal(mask, model[name])
    other = redrawn(weights, masks, None, 100, prune=MAGNITUDE, seed=1, pattern=patterns.balanced)
    assert num_kept(other) == num_kept(kept)
    assert not torch.equal(other["b"], kept["b"])
    assert other["b"].any(dim=1).all()


def test_a_random_mask_redrawn_with_its_own_seed_is_itself() -> None:
    weights, masks = network()
    erk = partial(
        prune,
        score=partial(scores.random, seed=7),
        allocate=allocate.erk,
        pattern=patterns.unstructured,
    )
    kept = redrawn(weights, masks, None, 90, prune=erk, seed=7, pattern=patterns.unstructured)
    assert all(torch.equal(kept[n], mask) for n, mask in erk(weights, masks, None, 90).items())


def test_redrawn_passes_the_probe_on_and_keeps_what_a_structure_rounds_down_to() -> None:
    weights, masks = network()
    seen = []

    def score(weights, masks, probe):
        seen.append(probe)
        return scores.magnitude(weights, masks, probe)

    in_rows = partial(allocate.in_whole_rows, allocate=allocate.uniform, spread=False)
    fan_in = partial(prune, score=score, allocate=in_rows, pattern=patterns.constant_fan_in)
    probe = Stored({})
    kept = redrawn(weights, masks, probe, 161, prune=fan_in, **UNSTRUCTURED)
    assert seen == [probe]
    assert num_kept(kept) == {"a": 108, "b": 32, "c": 20}


def test_an_emptied_layer_stays_empty() -> None:
    weights, masks = network()
    weights["c"] *= 0
    model = MAGNITUDE(weights, masks, None, 100)
    assert not model["c"].any()
    kept = redrawn(weights, masks, None, 100, prune=MAGNITUDE, seed=0, pattern=patterns.balanced)
    assert not kept["c"].any()


@settings(max_examples=40, deadline=None)
@given(total=st.integers(3, SIZE), wanted=st.integers(3, SIZE))
def test_ratios_of_a_ticket_are_scaled_to_the_budget(total, wanted) -> None:
    weights, masks = network()
    stored = MAGNITUDE(weights, masks, None, total)
    counts = num_kept(stored)
    feasible = sum(masks[name].numel() for name, num in counts.items() if num)
    arguments = (weights, masks, Stored(stored))
    same = with_ratios_of(*arguments, total, ticket="ticket-1", **UNSTRUCTURED)
    assert num_kept(same) == counts
    if wanted > feasible:
        with pytest.raises(ValueError, match=f"largest feasible number is {feasible}"):
            with_ratios_of(*arguments, wanted, ticket="ticket-1", **UNSTRUCTURED)
        return
    found = num_kept(with_ratios_of(*arguments, wanted, ticket="ticket-1", **UNSTRUCTURED))
    assert sum(found.values()) == wanted
    # one factor for all layers that are not full, up to the rounding to whole weights
    unfilled = [name for name in found if found[name] < masks[name].numel() and counts[name]]
    least = max(((found[name] - 1) / counts[name] for name in unfilled), default=0)
    most = min(((found[name] + 1) / counts[name] for name in unfilled), default=math.inf)
    assert least <= most
    for name in found:
        if name not in unfilled and counts[name]:
            assert (found[name] - 1) / counts[name] <= most


def test_full_layers_pass_on_what_they_cannot_take() -> None:
    weights, masks = network()
    stored = {name: torch.zeros_like(mask) for name, mask in masks.items()}
    for name, num in {"a": 20, "b": 40, "c": 4}.items():
        stored[name].view(-1)[:num] = True
    kept = with_ratios_of(
        weights, masks, Stored(stored), 128 + 48, ticket="ticket-1", **UNSTRUCTURED
    )
    # b is full with 64; the other 112 are shared 20 : 4, but c holds 40
    assert num_kept(kept) == {"a": 93, "b": 64, "c": 19}
    assert not torch.equal(kept["a"], stored["a"])


def test_what_is_pruned_already_is_not_drawn() -> None:
    weights, masks = network()
    masks["a"][:, 0] = False
    stored = {name: torch.ones(shape).bool() for name, shape in SHAPES.items()}
    kept = with_ratios_of(weights, masks, Stored(stored), 200, ticket="ticket-1", **UNSTRUCTURED)
    check_nested(masks, kept)
    assert sum(num_kept(kept).values()) == 200


def test_layers_that_differ_are_named() -> None:
    weights, masks = network()
    stored = {"a": masks["a"], "b": torch.ones(8, 9).bool(), "head": masks["c"]}
    message = (
        "layers of ticket='ticket-1' differ: 'c' is not in the ticket; 'head' is only in the "
        r"ticket; 'b' has shape \(8, 9\) in the ticket, here \(8, 8\)"
    )
    with pytest.raises(ValueError, match=message):
        with_ratios_of(weights, masks, Stored(stored), 9, ticket="ticket-1", **UNSTRUCTURED)


def test_ratios_of_a_ticket_need_a_probe() -> None:
    with pytest.raises(ValueError, match="'ticket-1' need the store, but got no probe"):
        with_ratios_of(*network(), None, 9, ticket="ticket-1", **UNSTRUCTURED)
