"""Fractions of a fit are fractions of its own steps, wherever in the training it begins."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from sparsekit.store.store import Store
from sparsekit.store.tensors import load_network

Run = Callable[..., tuple[Store, list[str]]]


def num_snapshots(store: Store, ticket: str) -> list[int]:
    fits = store.description(ticket)["inputs"]
    return [store.read(fit, "topology.json")["num_snapshots"] for fit in fits]


def test_parts_of_a_training_average_their_own_last_half(run_tiny: Run) -> None:
    """Ten epochs of 19 steps, cut after three and seven: parts of 3, 4 and 3 epochs. The last half
    of each begins after 1.5, 2 and 1.5 epochs of its own."""
    store, tickets = run_tiny(
        "method=soup_gradual",
        "method.cycles=2",
        "method.num_particles=2",
        "method.span=[0.3,0.7]",
        "method.average_from=0.5",
        "train.epochs=10",
        "method.studies=[]",
    )
    assert [num_snapshots(store, ticket) for ticket in tickets] == [[2], [2, 2], [2, 2]]


def test_a_fit_that_begins_at_a_rewind_step_averages_its_own_last_half(run_tiny: Run) -> None:
    """Steps 38 to 76 of four epochs: the second half begins with epoch 3, not with epoch 2."""
    store, tickets = run_tiny(
        "method=imp",
        "method.cycles=1",
        "method.rewind_step=38",
        "method.average_from=0.5",
        "train.epochs=4",
    )
    assert [num_snapshots(store, ticket) for ticket in tickets[1:]] == [[1], [1]]


def test_the_first_particle_of_swamp_plus_is_averaged_before_there_are_several(
    run_tiny: Run,
) -> None:
    store, tickets = run_tiny(
        "method=swamp_plus",
        "method.cycles=2",
        "method.several_from=2",
        "method.num_particles=2",
        "method.average_from=0.5",
        "train.epochs=4",
        "method.studies=[]",
    )
    assert [num_snapshots(store, ticket) for ticket in tickets] == [[2], [2], [2, 2]]
    # and so the averages choose the masks: without averaging they are others
    plain, raw = run_tiny("method=imp", "method.cycles=1", "train.epochs=4")
    averaged, chosen = (load_network(s, t[1])[1] for s, t in ((store, tickets), (plain, raw)))
    assert any(bool((mask != chosen[name]).any()) for name, mask in averaged.items())


def test_a_mover_counts_the_steps_of_the_fit_it_acts_in(run_tiny: Run) -> None:
    """From step 19 of 38 on, the ramp of half a fit ends at its step 9, which is 28 in all."""
    store, tickets = run_tiny(
        "method=gmp",
        "method.dense_first=true",
        "method.rewind_step=19",
        "method.mover.until=0.5",
        "method.mover.interval=2",
        "train.epochs=2",
    )
    metrics = store.read(tickets[-1], "metrics.json")
    total, kept = metrics["num_prunable"], metrics["num_kept"]
    ramp = [1 - 0.8 * (1 - (1 - step / 9) ** 3) for step in (0, 2, 4, 6, 8, 9)]
    # the mean over the steps 1 to 19 of the fit, pruned before step 1, after 2, 4, 6, 8 and 9
    mean = (2 * ramp[0] + 2 * ramp[1] + 2 * ramp[2] + 2 * ramp[3] + ramp[4] + 10 * ramp[5]) / 19
    assert kept == pytest.approx(0.2 * total, abs=1)
    assert metrics["average_num_kept"] == pytest.approx(mean * total, abs=1)


def test_an_intersection_below_the_next_budget_is_kept_as_it_is(run_tiny: Run) -> None:
    """Four particles that each remove 2 % have less in common than the budgets to come."""
    store, tickets = run_tiny(
        "method=swamp",
        "method.sources=particles",
        "method.remove=0.02",
        "method.cycles=3",
        "method.num_particles=4",
        "method.average_from=null",
        "method.studies=[]",
        "train.epochs=2",
    )
    starts = [store.description(store.description(t)["inputs"][0])["inputs"][0] for t in tickets]
    said = [store.read(start, "metrics.json") for start in starts[1:]]
    assert [one["budget"] for one in said] == [8655, 8482, 8313]  # of 8,832
    assert all(one["num_kept"] <= one["budget"] for one in said)
    assert said[0]["num_kept"] < said[1]["budget"], "the case is there"
    assert said[1]["num_kept"] == said[0]["num_kept"], "nothing more is pruned"
    assert all(cut["fraction"] == 0 for cut in said[1]["cuts"])
