"""Every experiment file runs: each of its kinds of run takes one optimizer step per fit."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from sparsekit.configuration.compose import CONFIGS, Run, compose_runs
from sparsekit.configuration.sweep_files import key_of, read_sweep
from sparsekit.store.store import Store
from sparsekit.sweeps.launch import launch
from tests.conformance.small_data import write_cifar10, write_mnist

TRAINED_ELSEWHERE = {"method_zoo"}  # every run of it, in test_method_zoo.py
METHODS_OF_THE_ZOO = {  # which trains them all: one run says that model and data fit
    "averaging_cifar", "dynamic_cifar", "dynamic_mnist", "gmp_windows_mnist",
    "layerwise_iterative_mnist", "layerwise_mnist", "n_of_m_cifar", "random_width_cifar",
    "rewinding_mnist", "soups_cifar",
}  # fmt: skip
NEED_A_STORE = {"transfer_mnist"}  # with the networks of transfer_mnist_upstream, by their keys
EXPERIMENTS = sorted(
    {file.stem for file in (CONFIGS / "experiment").glob("*.yaml")}
    - TRAINED_ELSEWHERE
    - NEED_A_STORE
)
SMALLER = {
    "python_text": ["data.num_bytes=100000"],
    "some_classes": ["data.of.num_val=10", "data.of.num_train=null"],
}
FILES: dict[str, Callable[[Path], None]] = {
    "mnist": write_mnist,
    "cifar10": write_cifar10,
    "cifar10_16": write_cifar10,
    "some_classes": write_mnist,
}


def one_of_each_kind(runs: list[Run]) -> Iterator[Run]:
    seen = set()
    for run in runs:
        if run.variant not in seen:
            seen.add(run.variant)
            yield run


def at_most_one_cycle(run: Run) -> list[str]:
    """Overrides of a run of one cycle, and of no more parts than one step has."""
    method = run.config["method"]
    shorter = {"method.cycles": 1} if method.get("cycles", 0) > 1 else {}
    shorter |= {"method.several_from": 1} if method.get("several_from", 0) > 1 else {}
    shorter |= {"method.rewind_step": 0} if method.get("rewind_step") else {}
    shorter |= {"method.retrain_epochs": 0.0001} if method.get("retrain_epochs") else {}
    shorter |= {"method.retrain_times": 1} if method.get("retrain_times") else {}
    shorter |= {"method.span": "null", "method.ramp": "null"} if method.get("span") else {}
    if (mover := method.get("mover")) is not None:  # a fit of one step has room for one cut or none
        is_gradual = mover["_target_"].endswith("Gradual")
        shorter |= {"method.mover.fraction": 0} if not is_gradual else {}
        shorter |= {"method.mover.begin": 0, "method.mover.until": 0} if is_gradual else {}
    kept = [text for text in run.overrides if key_of(text) not in shorter]
    return [*kept, *(f"{key}={value}" for key, value in shorter.items())]


@pytest.mark.parametrize("experiment", EXPERIMENTS)
def test_one_batch(experiment: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    runs = list(one_of_each_kind(compose_runs([f"+experiment={experiment}"])))
    runs = runs[:1] if experiment in METHODS_OF_THE_ZOO else runs
    overrides = [
        "debug=one_batch",
        "runtime.accelerator=cpu",
        f"runtime.data={tmp_path}",
        f"runtime.store={tmp_path / 'runs'}",
        *SMALLER.get(runs[0].choices["data"], []),
    ]
    data = runs[0].choices["data"]
    if data in FILES:
        FILES[data](tmp_path)
    if data in FILES and data not in SMALLER:
        overrides.append("data.num_val=10")
        overrides += ["data.num_train=null"] if "num_train" in runs[0].config["data"] else []
    shortened = [compose_runs([*at_most_one_cycle(run), *overrides])[0] for run in runs]
    assert launch(shortened, command="test") == 0
    store = Store(tmp_path / "runs")
    fits = list(store.keys("fit"))
    # Cuts without retraining train nothing: their dense fit is that of another run.
    own = [run for run in runs if run.config["method"].get("retrain_epochs") != 0]
    assert len(fits) >= len(own)
    assert all(store.read(key, "history.json")[-1]["step"] == 1 for key in fits)
    assert "stages were computed" in capsys.readouterr().out


@pytest.mark.parametrize(
    "file", sorted(CONFIGS.parent.glob("*/*/sweep.yaml")), ids=lambda file: file.parent.name
)
def test_sweep_files_compose(file: Path) -> None:
    assert len({run.variant for run in compose_runs(["seed=0"], sweep=read_sweep(file))}) > 1
