"""All methods in one comparison, on real digits."""

from __future__ import annotations

from pathlib import Path

import pytest

from sparsekit.configuration.compose import CONFIGS, Run, compose_runs
from sparsekit.configuration.overrides import key_of
from sparsekit.report.collect import collect
from sparsekit.sweeps.launch import launch

OWN_SPARSITY = ("ste", "sr_ste")
FEWER = {
    "method.cycles=4": "method.cycles=2",
    "method.several_from=3": "method.several_from=2",
}
OF_METHODS = {
    "group_lasso": ["train.epochs=2"],  # it trains under the penalty before it trains freely
    "soup_gradual": ["method.cycles=4"],
}
OF_PARTICLES = ["method.num_particles=2"]
OF_MOVERS = ["train.batch_size=8"]  # 157 steps, so that they act
SHORT = (
    "data=digits",
    "model=mlp",
    "train=digits",
    "train.batch_size=16",
    "train.epochs=1",
    "seed=0",
    "runtime.accelerator=cpu",
    "runtime.progress=none",
    "logger=none",
)


def shorter(run: Run) -> list[str]:
    """Overrides of the same run of less training, at a sparsity of 90 % where it has one."""
    method = run.choices["method"]
    given = {key_of(text) for text in run.overrides}
    sparsity = "method.sparsity" if "method.sparsity" in given else "sparsity"
    own = OF_METHODS.get(method, []) + OF_MOVERS * bool(run.config["method"].get("mover"))
    own += OF_PARTICLES * (run.config["method"].get("num_particles", 1) > 1)
    shared = [text for text in SHORT if key_of(text) not in map(key_of, own)]
    asked = [
        FEWER.get(text, text)
        for text in run.overrides
        if key_of(text) not in ("seed", "method.sparsity")
    ]
    has_no_choice = method in (*OWN_SPARSITY, "dense")
    return [*asked, *shared, *own, *([] if has_no_choice else [f"{sparsity}=0.9"])]


def test_the_zoo_holds_every_method_and_all_of_them_learn(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    runs = compose_runs(["+experiment=method_zoo", "seed=0"])
    methods = {run.choices["method"] for run in runs}
    assert methods == {file.stem for file in (CONFIGS / "method").glob("*.yaml")}
    shortened = []
    for run in runs:
        shortened += compose_runs([*shorter(run), "sweep=[]", f"runtime.store={tmp_path}"])
    assert len(shortened) == len(runs)
    assert launch(shortened, command="test") == 0
    table = capsys.readouterr().out
    results = collect([tmp_path])
    last = {(r.method, r.asked): r for r in results}
    assert len(last) == len(runs)
    for (method, asked), result in last.items():
        kept = result.metrics["num_kept"]
        if method == "dense":
            assert kept == 8832
        elif method == "imp_average":
            assert kept > 883
        elif method in OWN_SPARSITY:
            assert kept == 8832 // 2
        elif method == "group_lasso":  # whole neurons, of what is not the classifier
            assert 819 - 64 < kept <= 819
        elif "constant_fan_in" in asked or method == "srigl":
            assert 883 - 2 * 138 < kept <= 883
        else:
            assert kept == 883
        assert result.metrics["test_accuracy"] > 0.2, (method, asked)
    assert all(run.labels["method"].partition(" (")[0] in table for run in runs)
