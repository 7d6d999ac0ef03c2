"""All methods in one comparison, on real digits."""

from __future__ import annotations

from pathlib import Path

import pytest

from sparsekit.configuration.compose import CONFIGS, compose_runs
from sparsekit.configuration.overrides import key_of
from sparsekit.report.collect import collect
from sparsekit.sweeps.launch import launch

OWN_SPARSITY = ("ste", "sr_ste")
LONGER = {"group_lasso": "train.epochs=2"}  # it trains under the penalty before it trains freely
SHORT = (
    "data=digits",
    "model=mlp",
    "train=digits",
    "train.batch_size=8",  # so that movers act: 157 steps
    "train.epochs=1",
    "seed=0",
    "runtime.accelerator=cpu",
    "runtime.progress=none",
    "logger=none",
)


def test_the_zoo_holds_every_method_and_all_of_them_learn(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    runs = [run for run in compose_runs(["+experiment=method_zoo"]) if run.config["seed"] == 0]
    methods = {run.choices["method"] for run in runs}
    assert methods == {file.stem for file in (CONFIGS / "method").glob("*.yaml")}
    shortened = []
    for run in runs:
        asked = [
            text for text in run.overrides if not text.startswith(("seed=", "method.sparsity="))
        ]
        given = {key_of(text) for text in run.overrides}
        sparsity = "method.sparsity" if "method.sparsity" in given else "sparsity"
        own = run.choices["method"] in (*OWN_SPARSITY, "dense")
        short = [*SHORT, *([] if own else [f"{sparsity}=0.9"])]
        short = [
            LONGER.get(run.choices["method"], text) if "epochs" in text else text for text in short
        ]
        shortened += compose_runs([*asked, *short, "sweep=[]", f"runtime.store={tmp_path}"])
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
    assert all(method in table for method in methods)
