"""One fit under the settings people use: devices, precision, accumulation, compilation."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from sparsekit.configuration.config import ConfigError
from sparsekit.report.compare import differences
from sparsekit.runs.runner import PreparedRun, rehearse_all, run_prepared
from sparsekit.store.store import Store
from sparsekit.store.tensors import load_network
from sparsekit.system.executors import Failures
from tests.conformance.small_data import write_mnist

Run = Callable[..., tuple[Store, list[str]]]


def final_state(store: Store, tickets: list[str]) -> dict[str, torch.Tensor]:
    return load_network(store, tickets[-1])[0]


def largest_difference(first: dict[str, torch.Tensor], second: dict[str, torch.Tensor]) -> float:
    return max(float((first[n].double() - second[n].double()).abs().max()) for n in first)


def test_accumulation_is_the_same_step_up_to_rounding(run_tiny: Run) -> None:
    whole = final_state(*run_tiny("method=one_shot"))
    store, tickets = run_tiny("method=one_shot", "train.accumulate=4")
    pieces = final_state(store, tickets)
    assert 0 < largest_difference(whole, pieces) < 1e-4
    fit = store.description(tickets[-1])["inputs"][0]
    assert store.read(fit, "history.json")[-1]["step"] == 10


def test_masks_move_alike_on_every_rank(run_tiny: Run) -> None:
    """Two processes see halves of every batch; what grows is decided by the mean of both. They
    compare their masks at every move and stop where they differ."""
    asked = ("method=rigl", "method.mover.interval=2", "method.mover.num_gradients=2")
    _, masks = load_network(*(lambda store, keys: (store, keys[-1]))(*run_tiny(*asked)))
    store, tickets = run_tiny(*asked, "runtime.devices=2", store="two")
    _, others = load_network(store, tickets[-1])
    fit = store.description(tickets[-1])["inputs"][0]
    start = load_network(store, store.description(fit)["inputs"][0])[1]
    for name, mask in others.items():
        agree = float((mask & masks[name]).sum() / mask.sum())
        stayed = float((mask & start[name]).sum() / mask.sum())
        assert agree > 0.95 > stayed, "the same masks up to rounding, and not those of the start"


BATCH_NORM = ("model=resnet20", "+model.width=8")


@pytest.mark.usefixtures("warm_spawn")
@pytest.mark.parametrize(("model", "tolerance"), [((), 1e-4), (BATCH_NORM, 2e-2)])
def test_two_devices_train_the_same_network(
    model: tuple[str, ...], tolerance: float, run_tiny: Run
) -> None:
    """DDP over two processes: equal masks, exact zeros, and the numbers of one device, with its
    mean training loss, and BatchNorm over the whole batch (halves of it: 5 % off and more)."""
    before, keys = run_tiny("method=one_shot", *model)
    one = final_state(before, keys)
    store, tickets = run_tiny("method=one_shot", "runtime.devices=2", *model, store="two")
    assert tickets == keys
    state, masks = load_network(store, tickets[-1])
    for told in ("train_loss", "val_loss"):
        rows = [
            where.read(where.description(tickets[-1])["inputs"][0], "history.json")
            for where in (before, store)
        ]
        assert rows[1][-1][told] == pytest.approx(rows[0][-1][told], rel=tolerance)
    assert model or largest_difference(one, state) < tolerance
    assert all(bool((state[name][~mask] == 0).all()) for name, mask in masks.items())
    fit = store.description(tickets[-1])["inputs"][0]
    assert store.read(fit, "cost.json")["devices"] == 2


def test_mixed_precision_trains_float32_weights(run_tiny: Run) -> None:
    exact = final_state(*run_tiny("method=dense"))
    mixed = final_state(*run_tiny("method=dense", "train.precision=bf16-mixed"))
    assert all(value.dtype == exact[name].dtype for name, value in mixed.items())
    assert 0 < largest_difference(exact, mixed) < 0.1


def test_half_precision_without_a_gpu_is_refused(tiny: Callable[..., PreparedRun]) -> None:
    job = tiny("method=dense", "train.precision=16-mixed")
    with pytest.raises(ConfigError, match=r"16-mixed needs a GPU; .* bf16-mixed"):
        rehearse_all([job])


def test_channels_last_changes_layout_not_results(run_tiny: Run) -> None:
    chosen = ["method=dense", "model=resnet20", "train.epochs=0.1"]
    plain = final_state(*run_tiny(*chosen))
    last = final_state(*run_tiny(*chosen, "train.channels_last=true"))
    assert largest_difference(plain, last) < 1e-3
    assert all(value.is_contiguous() for value in last.values())


def test_compiled_model_keeps_names_and_keys(run_tiny: Run) -> None:
    store, eager = run_tiny("method=dense", "train.epochs=0.1")
    other, compiled = run_tiny(
        "method=dense", "train.epochs=0.1", "runtime.compile=true", store="compiled"
    )
    assert compiled == eager, "compilation is no part of the identity"
    assert largest_difference(final_state(store, eager), final_state(other, compiled)) < 1e-4


def test_workers_give_the_bits_of_inline(run_tiny: Run) -> None:
    """In a process that imports everything anew; one alone, since that takes it seconds."""
    chosen = ["method=imp", "method.cycles=1", "method.variations=[{particle:0},{particle:1}]"]
    chosen += ["method.merge={_target_:sparsekit.core.averaging.uniform_soup}"]
    inline, _ = run_tiny(*chosen, "runtime.threads=1")
    chosen += ["runtime.threads=1", "executor=workers", "executor.num_workers=1"]
    workers, _ = run_tiny(*chosen, store="workers")
    assert differences(inline, workers) == []


def test_dropout_is_a_function_of_the_step(run_tiny: Run) -> None:
    chosen = ["method=dense", "model=wrn_22_2", "model.depth=10", "model.width=1"]
    chosen += ["model.dropout=0.5", "train.epochs=0.2"]
    first, _ = run_tiny(*chosen, store="first")
    torch.rand(7)
    second, _ = run_tiny(*chosen, store="second")
    assert differences(first, second) == []
    without = final_state(*run_tiny(*chosen[:-2], "model.dropout=0.0", chosen[-1]))
    store, tickets = run_tiny(*chosen)
    assert largest_difference(without, final_state(store, tickets)) > 0


def test_a_loss_that_is_not_a_number_stops_the_run_and_is_recorded(
    run_tiny: Run, tmp_path: Path
) -> None:
    with pytest.raises(Failures, match=r"no longer finite by step \d+.*train.schedule.peak"):
        run_tiny("method=dense", "train.schedule.peak=1e30")
    store = Store(tmp_path / "runs")
    assert not list(store.keys("fit"))


def test_failed_runs_leave_a_record_and_the_others_finish(
    tiny: Callable[..., PreparedRun], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from sparsekit.configuration.compose import compose_runs
    from sparsekit.sweeps.launch import launch
    from tests.conftest import TINY

    overrides = [*TINY, f"runtime.store={tmp_path / 'runs'}", "method=dense"]
    runs = compose_runs([*overrides, "train.schedule.peak=1e30,0.1"])
    assert launch(runs, command="test") == 1
    printed = capsys.readouterr()
    assert "1 of 2 runs failed" in printed.err
    assert "no longer finite" in printed.err
    assert "dense" in printed.out
    records = [path.read_text() for path in (tmp_path / "runs" / "named").rglob("*.json")]
    assert sorted('"status": "failed"' in text for text in records) == [False, True]


def test_history_has_a_row_per_validated_epoch(run_tiny: Run) -> None:
    store, tickets = run_tiny("method=dense", "train.epochs=2.5", "train.evaluate_every=2")
    fit = store.description(tickets[0])["inputs"][0]
    rows = store.read(fit, "history.json")
    assert [row["epoch"] for row in rows] == [2.0, pytest.approx(48 / 19, abs=1e-9)]
    assert rows[-1]["train_loss"] < rows[0]["train_loss"]
    assert rows[-1]["learning_rate"] < rows[0]["learning_rate"] < 0.1


def test_job_that_was_interrupted_between_cycles_goes_on(tiny: Callable[..., PreparedRun]) -> None:
    run_prepared(tiny("method=imp", "method.cycles=1"), "one cycle")
    job = tiny("method=imp", "method.cycles=2")
    before = set(job.store.keys("fit"))
    run_prepared(job, "two cycles")
    assert len(before) == 2
    assert len(set(job.store.keys("fit")) - before) == 1


def test_other_data_under_the_same_name_is_refused(
    tiny: Callable[..., PreparedRun], tmp_path: Path
) -> None:
    chosen = ["method=dense", "data=mnist", "data.num_val=10", "train.batch_size=8"]
    for folder, number in (("one", 60), ("other", 50)):
        write_mnist(tmp_path / folder, num_train=number)
    run_prepared(tiny(*chosen, f"runtime.data={tmp_path / 'one'}"), "first")
    with pytest.raises(ValueError, match=r"is not the data that the results in .* computed on"):
        run_prepared(tiny(*chosen, f"runtime.data={tmp_path / 'other'}"), "second")


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["method=dense", "train.schedule.peak=-0.1"], "learning rate -0.1 at step 0"),
        (
            [
                "method=imp_finetune",
                "method.cycles=1",
                "method.retrain_epochs=2",
                "method.retrain={_target_:sparsekit.core.learning_rates.rewound}",
            ],
            "38",
        ),
        (["method=rigl", "method.mover.fraction=2"], "fraction must lie in"),
    ],
    ids=["negative", "longer than the dense schedule", "mover"],
)
def test_impossible_values_are_found_in_rehearsal(
    tiny: Callable[..., PreparedRun], overrides: list[str], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        rehearse_all([tiny(*overrides)])
