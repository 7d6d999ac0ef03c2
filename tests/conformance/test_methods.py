"""Every file in configs/method keeps the promises every method makes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from itertools import product
from pathlib import Path

import pytest

from sparsekit.configuration.compose import CONFIGS
from sparsekit.core.counts import budget
from sparsekit.core.types import Masks
from sparsekit.report.compare import differences
from sparsekit.runs.runner import PreparedRun, run_prepared
from sparsekit.store.identity import canonical, describe
from sparsekit.store.sealing import SESSION
from sparsekit.store.store import Store
from sparsekit.store.tensors import load_network
from tests.conformance.conftest import Computed, Undisturbed
from tests.conformance.deaths import AROUND_STAGES, WITHIN_FITS, in_diary, run_through_deaths
from tests.conftest import run_to_its_end, tiny_run

METHODS = sorted((CONFIGS / "method").glob("*.yaml"))
TEXT = (
    "data=python_text",
    "data.length=16",
    "data.num_bytes=6000",
    "model=transformer",
    "model.width=16",
    "train=text",
)
CASES = [pytest.param(file, id=file.stem) for file in METHODS]
ADAMW = "train.optimizer={_target_:sparsekit.training.optimizers.adamw}"
CASES += [
    pytest.param(["method=imp", "method.cycles=2", "method.rewind_step=3"], id="imp, rewind 3"),
    pytest.param(["method=one_shot", "model=resnet20", "train.clip_norm=1"], id="BatchNorm"),
    pytest.param(["method=one_shot", ADAMW], id="AdamW"),
    pytest.param(["method=dense", "train.epochs=1.3"], id="two epochs"),
    pytest.param(["method=random", "model=resnet20", "train.epochs=0.1"], id="many layers"),
    pytest.param(["method=imp", "method.cycles=2", "+control=reinitialise"], id="reinitialise"),
    pytest.param(
        ["method=rigl", "method.mover.interval=2", "+control=shuffle_layers"], id="control"
    ),
    pytest.param(
        ["method=rigl", "method.mover.interval=4", "method.mover.num_gradients=4", ADAMW],
        id="gradients of several steps",
    ),
    pytest.param(["method=imp", "method.cycles=2", *TEXT, "model.dropout=0.1"], id="text"),
    pytest.param(
        ["method=rigl", "method.mover.interval=2", "data=diabetes", "train=diabetes"],
        id="regression",
    ),
]
Run = Callable[..., tuple[Store, list[str]]]


def left_over(job: PreparedRun, masks: Masks) -> int:
    """Weights that structures may leave of a budget: less than one for every row, or less than a
    row where whole ones are kept; else none."""
    if "in_whole_channels" in canonical(describe(job.method)):
        return max(mask[0].numel() for mask in masks.values()) - 1
    if "constant_fan_in" not in canonical(describe(job.method)):
        return 0
    return sum(len(mask) for mask in masks.values()) - 1


@pytest.mark.parametrize("overrides", CASES, indirect=True)
def test_budget_zeros_and_no_second_computation(
    overrides: list[str], undisturbed: Undisturbed
) -> None:
    store, tickets = undisturbed(overrides)
    job = tiny_run(store.root, overrides)
    for cycle, key in zip(job.method.plan(), tickets, strict=True):
        state, masks = load_network(store, key)
        total = sum(mask.numel() for mask in masks.values())
        kept = sum(int(mask.sum()) for mask in masks.values())
        if cycle.sources == "apart":  # merged under the union of masks, and so it says
            assert budget(total, cycle.sparsity) <= kept
        else:
            assert 0 <= budget(total, cycle.sparsity) - kept <= left_over(job, masks)
        assert store.read(key, "metrics.json")["num_kept"] == kept
        assert all(bool((state[name][~mask] == 0).all()) for name, mask in masks.items())
        assert all(bool((state[name][mask] != 0).any()) for name, mask in masks.items())
    before = store.ancestors(*tickets)
    _, again = run_to_its_end(job)
    assert again == tickets
    assert store.ancestors(*again) == before
    assert all(stage["provenance"]["session"] == SESSION for stage in before.values())


@pytest.mark.parametrize(
    "kinds", [WITHIN_FITS, AROUND_STAGES], ids=["within fits", "around stages"]
)
@pytest.mark.parametrize("overrides", CASES, indirect=True)
def test_killed_everywhere_same_bits(
    overrides: list[str],
    kinds: tuple[str, ...],
    undisturbed: Undisturbed,
    died_everywhere: Mapping[tuple[str, ...], Computed],
    diary: Path,
    tiny: Callable[..., PreparedRun],
) -> None:
    """Within fits apart: a death when all is computed starts the fit afresh, and would hide what
    the resumed fits before it had lost. Stages that methods have in common: once."""
    known = set(diary.read_text().splitlines())
    expected, tickets = undisturbed(overrides)
    job = tiny(*overrides, "runtime.checkpoint_seconds=0", store="killed")
    handed = died_everywhere[kinds].hand_to(job)
    places = run_through_deaths(lambda: run_prepared(job, "test"), diary, kinds=kinds)
    computed = ["fit"] if kinds == WITHIN_FITS else expected.kinds()
    died_in = {key for kind in computed for key in expected.keys(kind)} - handed
    due = {in_diary(f"{kind} {key}") for kind, key in product(kinds, died_in)} - known
    assert {" ".join(place.split()[:2]) for place in places} == due
    assert differences(expected, job.store) == []
    assert not list((job.store.root / "work").glob("*-*/*")), "work was left behind"
    assert not (job.store.root / "corrupt").exists(), "a whole checkpoint was taken for damaged"
    died_everywhere[kinds].keep(job.store, tickets)


def test_a_different_seed_gives_different_bits(run_tiny: Run) -> None:
    store, first = run_tiny("method=imp", "method.cycles=1", "seed=0")
    _, second = run_tiny("method=imp", "method.cycles=1", "seed=1")
    for one, other in zip(first, second, strict=True):
        states = [load_network(store, key)[0] for key in (one, other)]
        assert any(bool((states[0][name] != states[1][name]).any()) for name in states[0])


def test_a_collapsed_layer_is_named(run_tiny: Run, capsys: pytest.CaptureFixture[str]) -> None:
    store, tickets = run_tiny("method=one_shot", "sparsity=0.9998", "model=mlp")
    metrics = store.read(tickets[-1], "metrics.json")
    empty = [name for name, layer in metrics["layers"].items() if layer["kept"] == 0]
    assert empty
    assert metrics["collapsed"] == empty
    fit = store.description(tickets[-1])["inputs"][0]
    start = store.description(fit)["inputs"][0]
    assert store.read(start, "metrics.json")["collapsed"] == empty
    assert f"layer collapse: nothing is left of {', '.join(empty)}" in capsys.readouterr().err


def test_dynamic_methods_say_how_far_they_have_come(run_tiny: Run) -> None:
    store, tickets = run_tiny("method=srigl", "method.mover.interval=1", "train.epochs=2")
    metrics = store.read(tickets[-1], "metrics.json")
    fit = store.description(tickets[-1])["inputs"][0]
    row = store.read(fit, "history.json")[-1]
    assert metrics["itop"] == row["itop"] > metrics["num_kept"] / metrics["num_prunable"]
    for name, layer in metrics["layers"].items():
        assert row[f"active_neurons/{name}"] == layer["active_neurons"]
        assert [row[f"fan_in/{name}/min"], row[f"fan_in/{name}/max"]] == layer["fan_in"]
        assert layer["fan_in"][0] == layer["fan_in"][1] > 0


def test_the_average_of_a_gradual_pruning_lies_between_its_ends(run_tiny: Run) -> None:
    store, tickets = run_tiny("method=gmp", "method.mover.interval=1", "train.epochs=2")
    metrics = store.read(tickets[-1], "metrics.json")
    average, total = metrics["average_num_kept"], metrics["num_prunable"]
    assert metrics["num_kept"] < average < total
    assert metrics["average_num_parameters"] == pytest.approx(
        average + metrics["num_parameters"] - total
    )
    store, tickets = run_tiny("method=random")
    metrics = store.read(tickets[-1], "metrics.json")
    assert metrics["average_num_kept"] == metrics["num_kept"]
