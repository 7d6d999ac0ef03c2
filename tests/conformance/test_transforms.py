"""Cycles whose networks are transformed: budgets, rewinding, resuming, what is planned and told."""

from collections.abc import Callable, Mapping
from itertools import product
from pathlib import Path

import pytest
import torch

from sparsekit.core.counts import budget
from sparsekit.core.prune import apply, total_kept
from sparsekit.method.cycle import Method
from sparsekit.networks.network import stored_network
from sparsekit.report.compare import differences
from sparsekit.runs.planning import plan_run
from sparsekit.runs.runner import PreparedRun, run_prepared
from sparsekit.store.sealing import SESSION
from sparsekit.store.tensors import load_network
from tests.conformance.conftest import Computed, Undisturbed
from tests.conformance.deaths import AROUND_STAGES, in_diary, run_through_deaths
from tests.conftest import run_to_its_end, tiny_run

REMOVED = "+transform=remove_channels"
IMP = ("method=imp", "method.remove=0.8", "method.cycles=2")
RIGL = ("method=rigl", "sparsity=0.95", "method.mover.interval=2")
CASES = [
    pytest.param(["method=one_shot", "sparsity=0.95", REMOVED], id="one_shot"),
    pytest.param([*IMP, REMOVED], id="imp"),
    pytest.param([*IMP, "method.rewind_step=3", REMOVED], id="imp, rewind 3"),
    pytest.param([*IMP, "+control=reinitialise", REMOVED], id="drawn anew"),
    pytest.param([*IMP, "+control=shuffle_network", REMOVED], id="shuffled"),
    pytest.param([*RIGL, "+control=shuffle_layers", REMOVED], id="moved, then shuffled"),
    pytest.param(
        ["method=soup", "method.num_particles=2", "sparsity=0.95", REMOVED], id="several fits"
    ),
    pytest.param(
        ["method=random", "sparsity=0.995", "model=resnet20", "train.epochs=0.1", REMOVED],
        id="BatchNorm",
    ),
]
Tiny = Callable[..., PreparedRun]


@pytest.mark.parametrize("overrides", CASES)
def test_killed_everywhere_same_bits_and_nothing_twice(
    overrides: list[str],
    undisturbed: Undisturbed,
    died_everywhere: Mapping[tuple[str, ...], Computed],
    diary: Path,
    tiny: Tiny,
) -> None:
    expected, tickets = undisturbed(overrides)
    assert sorted(stage.key for stage in plan_run(tiny(*overrides))) == sorted(
        key for kind in expected.kinds() for key in expected.keys(kind)
    )
    before = expected.ancestors(*tickets)
    assert run_to_its_end(tiny_run(expected.root, overrides))[1] == tickets
    assert expected.ancestors(*tickets) == before
    assert all(stage["provenance"]["session"] == SESSION for stage in before.values())
    job = tiny(*overrides, store="killed")
    known = set(diary.read_text().splitlines())
    handed, kinds = died_everywhere[AROUND_STAGES].hand_to(job), AROUND_STAGES
    places = run_through_deaths(lambda: run_prepared(job, "test"), diary, kinds=kinds)
    died_in = {key for kind in expected.kinds() for key in expected.keys(kind)} - handed
    due = {in_diary(f"{kind} {key}") for kind, key in product(kinds, died_in)} - known
    assert set(places) == due
    assert differences(expected, job.store) == []
    died_everywhere[kinds].keep(job.store, tickets)


@pytest.mark.parametrize("overrides", CASES)
def test_networks_shrink_and_sparsity_counts_from_the_original(
    overrides: list[str], undisturbed: Undisturbed, tiny: Tiny
) -> None:
    store, tickets = undisturbed(overrides)
    init = stored_network(store, next(store.keys("init")))
    job = tiny(*overrides)
    first = load_network(store, tickets[0])[1]
    total = sum(mask.numel() for mask in first.values()) if job.method.dense_first else None
    for cycle, key in zip(job.method.plan(), tickets, strict=True):
        network, (state, masks) = stored_network(store, key), load_network(store, key)
        assert network.build().state_dict().keys() == state.keys()
        metrics = store.read(key, "metrics.json")
        assert metrics["num_kept"] == total_kept(masks)
        assert metrics["num_parameters"] == sum(p.numel() for p in network.build().parameters())
        if total is not None:
            assert metrics["num_prunable"] == total
            assert total_kept(masks) <= budget(total, cycle.sparsity)
            assert metrics["sparsity_prunable"] == (total - total_kept(masks)) / total
    assert stored_network(store, tickets[-1]).transforms
    assert sum(t.numel() for t in state.values()) < sum(
        t.numel() for t in init.build().state_dict().values()
    )


def test_what_is_rewound_to_are_the_weights_of_the_anchor(undisturbed: Undisturbed) -> None:
    store, tickets = undisturbed([*IMP, "method.rewind_step=3", REMOVED])
    anchor, _ = load_network(store, tickets[0])
    network = stored_network(store, tickets[-1])
    started = store.description(store.description(tickets[-1])["inputs"][0])["inputs"][0]
    assert started.startswith("transformed-")
    state, _ = load_network(store, started)
    full = network.transforms
    rebuilt = stored_network(store, tickets[0]).loaded(anchor)
    carried = network.replayed(rebuilt).state_dict()
    assert len(full) >= 1
    for name, tensor in state.items():
        if name.endswith("weight"):
            assert tensor.equal(carried[name]), name
    assert stored_network(store, started) == network


def test_the_first_transformed_network_does_what_the_pruned_one_does(
    undisturbed: Undisturbed,
) -> None:
    store, _ = undisturbed(["method=one_shot", "sparsity=0.95", REMOVED])
    transformed = next(store.keys("transformed"))
    pruned = store.description(transformed)["inputs"][0]
    inputs = torch.randn(16, *stored_network(store, pruned).example().shape[1:])
    outputs = []
    for key in (pruned, transformed):
        model = stored_network(store, key).loaded(apply(*load_network(store, key))).eval()
        with torch.no_grad():
            outputs.append(model(inputs))
    torch.testing.assert_close(outputs[0], outputs[1])
    told = store.read(transformed, "metrics.json")["transform"]
    assert told["num_parameters"] < told["num_parameters_before"]
    assert sum(told["notes"][0]["removed"].values()) > 0


def test_a_transformation_that_would_be_ignored_is_refused() -> None:
    with pytest.raises(ValueError, match=r"transform with cycles=0 would be ignored"):
        Method(transform=lambda *asked: asked)
    with pytest.raises(ValueError, match=r"particles of different networks cannot merge"):
        Method(
            transform=lambda *asked: asked, sources="apart", cycles=1, remove=0.1,
            prune=lambda *asked: asked,
        )  # fmt: skip
