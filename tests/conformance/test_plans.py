"""The plan of every method is exactly what a run of it publishes."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest

from sparsekit.configuration.compose import CONFIGS
from sparsekit.runs.planning import plan_run
from sparsekit.runs.runner import PreparedRun
from sparsekit.store.store import Store
from tests.conformance.conftest import Undisturbed

METHODS = sorted((CONFIGS / "method").glob("*.yaml"))
CASES = [pytest.param(file, id=file.stem) for file in METHODS]
VARIATIONS = "method.variations=[{epochs:0.4},{seed:5},{weight_decay:0.1,peak:0.2}]"
CASES += [
    pytest.param(["method=imp", "method.cycles=2", "method.rewind_step=3"], id="imp, rewind 3"),
    pytest.param(["method=imp", "method.cycles=1", "+control=reinitialise"], id="drawn anew"),
    pytest.param(["method=snip", "+control=shuffle_layers"], id="shuffled"),
    pytest.param(["method=imp", "method.cycles=1", "+distillation=logits"], id="distilled"),
    pytest.param(["method=one_shot", "+transform=remove_channels"], id="transformed"),
    pytest.param(
        ["method=soup", "method.cycles=1", "method.num_particles=1", VARIATIONS], id="var"
    ),
    pytest.param(["method=one_shot", "method.retrain_epochs=0"], id="untrained"),
    pytest.param(["method=dense", "train.clip_norm=1", "seed=7"], id="seed 7"),
]
Run = Callable[..., tuple[Store, list[str]]]


def published(store: Store) -> list[str]:
    return sorted(key for kind in store.kinds() for key in store.keys(kind))


def planned(job: PreparedRun) -> list[str]:
    keys = [stage.key for stage in plan_run(job)]
    assert len(set(keys)) == len(keys)
    return sorted(keys)


@pytest.mark.parametrize("overrides", CASES, indirect=True)
def test_planned_keys_are_those_published(
    overrides: Sequence[str], undisturbed: Undisturbed, tiny: Callable[..., PreparedRun]
) -> None:
    job = tiny(*overrides, "runtime.data=/nowhere")
    keys = planned(job)
    assert not job.store.root.exists()
    store, tickets = undisturbed(overrides)
    assert keys == published(store)
    assert set(tickets) <= set(keys)


def test_inputs_come_before_what_is_made_of_them(tiny: Callable[..., PreparedRun]) -> None:
    seen: set[str] = set()
    for stage in plan_run(tiny("method=soup", "method.cycles=2", "seed=3")):
        assert set(stage.inputs) <= seen
        seen.add(stage.key)


def test_studies_and_ratios_of_a_stored_ticket(
    run_tiny: Run, tiny: Callable[..., PreparedRun]
) -> None:
    """Which ticket is read is known from its key; that it is there matters only to the run."""
    study = "method.studies=[{_target_:sparsekit.method.studies.particles}]"
    store, tickets = run_tiny("method=soup", "method.cycles=1", study)
    assert published(store) == planned(tiny("method=soup", "method.cycles=1", study))
    before = published(store)
    ratios = ("prune@method.prune=random_ratios_of", f"method.prune.ticket={tickets[-1]}")
    keys = planned(tiny("method=random", *ratios))
    run_tiny("method=random", *ratios)
    assert set(published(store)) == {*before, *keys}
    assert set(keys) - set(before)
