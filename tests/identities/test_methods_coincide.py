"""Where two methods are the same mathematics, they give the same bits."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import pytest
import torch

from sparsekit.store.store import Store
from sparsekit.store.tensors import load_network

Run = Callable[..., tuple[Store, list[str]]]
ADAMW = "{_target_:sparsekit.training.optimizers.adamw,weight_decay:0.1}"


def same_bits(store: Store, first: str, second: str) -> bool:
    pairs = zip(load_network(store, first), load_network(store, second), strict=True)
    return all(
        left.keys() == right.keys() and all(torch.equal(left[n], right[n]) for n in left)
        for left, right in pairs
    )


def test_one_cycle_of_imp_with_lr_rewinding_is_one_shot(run_tiny: Run) -> None:
    _, one_shot = run_tiny("method=one_shot", "sparsity=0.8")
    _, iterative = run_tiny("method=imp_lr_rewinding", "method.cycles=1", "method.remove=0.8")
    assert iterative == one_shot


def test_the_dense_network_is_shared_by_all_methods(run_tiny: Run) -> None:
    _, dense = run_tiny("method=dense")
    for method in ("one_shot", "imp", "imp_finetune", "imp_lr_rewinding"):
        _, tickets = run_tiny(f"method={method}", "method.cycles=1")
        assert tickets[0] == dense[0], method


def test_n_cycles_to_a_sparsity_end_on_the_budget_of_one(run_tiny: Run) -> None:
    store, once = run_tiny("method=imp_budgeted", "method.cycles=1", "method.retrain_epochs=0.2")
    _, thrice = run_tiny("method=imp_budgeted", "method.cycles=3", "method.retrain_epochs=0.2")
    counts = [
        sum(int(mask.sum()) for mask in load_network(store, tickets[-1])[1].values())
        for tickets in (once, thrice)
    ]
    assert counts[0] == counts[1]


def test_a_soup_of_equal_particles_is_the_particle(run_tiny: Run) -> None:
    store, plain = run_tiny("method=imp", "method.cycles=1")
    _, soup = run_tiny(
        "method=imp",
        "method.cycles=1",
        "method.variations=[{},{}]",
        "method.merge={_target_:sparsekit.core.averaging.uniform_soup}",
    )
    assert soup[-1] != plain[-1], "the merge must have run"
    assert same_bits(store, soup[-1], plain[-1])


def test_particles_differ_and_their_soup_is_their_mean(run_tiny: Run) -> None:
    store, soup = run_tiny(
        "method=imp",
        "method.cycles=1",
        "method.variations=[{particle:0},{particle:1}]",
        "method.merge={_target_:sparsekit.core.averaging.uniform_soup}",
    )
    particles = store.description(soup[-1])["inputs"]
    states = [load_network(store, key)[0] for key in particles]
    mean, _ = load_network(store, soup[-1])
    assert not same_bits(store, *particles)
    for name, value in mean.items():
        expected = (states[0][name].double() + states[1][name].double()) / 2
        assert torch.equal(value, expected.to(value.dtype))


@pytest.mark.parametrize("optimizer", [None, ADAMW], ids=["SGD", "AdamW"])
def test_masking_gradients_changes_nothing_where_nobody_reads_their_norm(
    run_tiny: Run, optimizer: str | None
) -> None:
    """A clip so high that it never acts switches gradient masking on, and only that."""
    chosen = ["method=one_shot"]
    chosen += [f"train.optimizer={optimizer}"] if optimizer else []
    store, without = run_tiny(*chosen)
    _, with_masked = run_tiny(*chosen, "train.clip_norm=1e9")
    assert without != with_masked
    assert same_bits(store, without[-1], with_masked[-1])


def test_rewinding_to_step_k_goes_on_where_dense_training_was(run_tiny: Run) -> None:
    """The dense network from step k on differs from the uninterrupted one only by the optimizer
    state that is not kept at step k: without momentum they are the same bits."""
    plain = ["train.optimizer.momentum=0", "method.cycles=1"]
    store, dense = run_tiny("method=imp", *plain)
    _, rewound = run_tiny("method=imp", "method.rewind_step=3", *plain)
    assert len(rewound) == len(dense) + 1
    assert same_bits(store, rewound[1], dense[0])


def masks_before_and_after(store: Store, ticket: str) -> tuple[dict[str, torch.Tensor], ...]:
    fit = store.description(ticket)["inputs"][0]
    start = store.description(fit)["inputs"][0]
    return load_network(store, start)[1], load_network(store, ticket)[1]


@pytest.mark.parametrize("method", ["set", "rigl", "srigl"])
def test_dynamic_methods_move_their_masks(run_tiny: Run, method: str) -> None:
    store, tickets = run_tiny(f"method={method}", "method.mover.interval=1")
    before, after = masks_before_and_after(store, tickets[-1])
    assert all(bool((before[name] != after[name]).any()) for name in before)


@pytest.mark.parametrize("method", ["set", "rigl"])
def test_moving_nothing_is_static_random_pruning(run_tiny: Run, method: str) -> None:
    store, static = run_tiny("method=random")
    _, moving = run_tiny(f"method={method}", "method.mover.interval=1", "method.mover.fraction=0")
    assert moving[-1] != static[-1], "the mover must have been there"
    assert same_bits(store, static[-1], moving[-1])


def test_swamp_with_one_particle_and_no_averaging_is_imp(run_tiny: Run) -> None:
    store, imp = run_tiny("method=imp", "method.cycles=2")
    _, swamp = run_tiny(
        "method=swamp",
        "method.cycles=2",
        "method.num_particles=1",
        "method.average_from=null",
        "method.studies=[]",
    )
    assert swamp != imp, "another merge, another stage"
    for one, other in zip(imp, swamp, strict=True):
        assert same_bits(store, one, other)


def test_a_trajectory_average_is_the_mean_of_its_epochs(run_tiny: Run) -> None:
    """At a constant learning rate the first epochs of long and short trainings are the same, so
    the mean along three epochs is that of the ends of three trainings."""
    rate = "train.schedule={_target_:sparsekit.core.learning_rates.constant,peak:0.05}"
    ends = []
    for epochs in (2, 3):
        store, tickets = run_tiny("method=dense", rate, f"train.epochs={epochs}")
        ends.append(load_network(store, tickets[0])[0])
    _, averaged = run_tiny("method=dense", rate, "train.epochs=3", "method.average_from=0.5")
    for name, value in load_network(store, averaged[0])[0].items():
        mean = (ends[0][name].double() + ends[1][name].double()) / 2
        assert torch.allclose(value.double(), mean, rtol=0, atol=1e-7), name
        assert not torch.equal(value, ends[1][name])


def test_a_soup_of_copies_is_pruned_on(run_tiny: Run) -> None:
    """Three particles per cycle, one mask, nested from soup to soup."""
    store, tickets = run_tiny("method=soup", "method.cycles=2", "method.retrain_epochs=0.3")
    masks = [load_network(store, key)[1] for key in tickets]
    for before, after in itertools.pairwise(masks):
        assert all(bool((after[n] <= before[n]).all()) for n in after)
    assert [len(store.description(key)["inputs"]) for key in tickets] == [1, 3, 3]


def test_gradual_pruning_that_ends_at_step_zero_is_pruning_at_initialisation(run_tiny: Run) -> None:
    store, at_once = run_tiny("method=random", "prune@method.prune=global_magnitude")
    _, gradual = run_tiny("method=gmp", "method.mover.until=0")
    assert gradual != at_once
    assert same_bits(store, gradual[-1], at_once[-1])


def test_an_average_of_one_run_of_imp_is_that_run(run_tiny: Run) -> None:
    store, soup = run_tiny("method=soup", "method.num_particles=1", "method.cycles=2")
    _, average = run_tiny("method=imp_average", "method.num_particles=1", "method.cycles=2")
    assert same_bits(store, soup[-1], average[-1])


def test_three_times_the_retraining_is_once_with_three_times_the_epochs(run_tiny: Run) -> None:
    plain = ["method=imp_budgeted", "method.cycles=1"]
    store, times = run_tiny(*plain, "method.retrain_epochs=0.2", "method.retrain_times=3")
    _, epochs = run_tiny(*plain, "method.retrain_epochs=0.6")
    assert times[-1] != epochs[-1]
    assert same_bits(store, times[-1], epochs[-1])


def test_sr_ste_without_decay_is_ste(run_tiny: Run) -> None:
    store, ste = run_tiny("method=ste")
    _, without = run_tiny("method=sr_ste", "method.view.decay=0")
    _, with_decay = run_tiny("method=sr_ste", "method.view.decay=0.1")
    assert same_bits(store, ste[-1], without[-1])
    assert not same_bits(store, ste[-1], with_decay[-1])


def test_a_penalty_of_no_strength_is_the_dense_training(run_tiny: Run) -> None:
    store, dense = run_tiny("method=dense")
    for way in ("proximal", "gradient"):
        by = f"method.penalty.by={way}"
        _, without = run_tiny("method=group_lasso", by, "method.penalty.strength=0")
        _, penalised = run_tiny("method=group_lasso", by, "method.penalty.strength=0.01")
        assert dense[0] != without[0], "the penalty is part of the address"
        assert same_bits(store, dense[0], without[0]), way
        assert not same_bits(store, dense[0], penalised[0]), way


def test_seeing_every_weight_is_training_without_a_view(run_tiny: Run) -> None:
    """Four of four, with a decay of the weights that are not seen, of which there are none."""
    store, plain = run_tiny("method=random", "sparsity=0")
    _, viewed = run_tiny("method=sr_ste", "method.view.n=4", "method.view.decay=0.1")
    assert viewed != plain
    assert same_bits(store, plain[-1], viewed[-1])
