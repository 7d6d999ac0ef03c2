"""What can be typed, and what it composes to."""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml

from sparsekit import run
from sparsekit.configuration.compose import CONFIGS, compose_one, compose_runs
from sparsekit.runs import runner
from sparsekit.runs.runner import prepare_run
from sparsekit.store.store import Store
from tests.conftest import TINY
from tests.system.processes import ended, forked, wait_for
from tests.waiting import PATIENCE

EXPERIMENTS = sorted(file.stem for file in (CONFIGS / "experiment").glob("*.yaml"))
METHODS = sorted(file.stem for file in (CONFIGS / "method").glob("*.yaml"))
DATASET = "{_target_: sklearn.datasets.load_digits}"  # not built before the data is loaded
MUST_BE_GIVEN = {
    "torch_dataset": [
        "data.name=mine",
        "data.num_outputs=10",
        f"data.train={DATASET}",
        f"data.test={DATASET}",
        "data.num_val=100",
    ],
    "some_classes": ["data.classes=[0,1]"],
}


def composed(*overrides: str) -> list[dict[str, Any]]:
    return [dict(run.config) for run in compose_runs(list(overrides))]


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_every_run_of_every_experiment_composes_and_builds(name: str) -> None:
    runs = compose_runs([f"+experiment={name}"])
    assert len(runs) > 1
    assert all(job.method.plan() for job in map(prepare_run, runs))
    assert len({prepare_run(run).name for run in runs}) == len(runs)
    assert {run.experiment for run in runs} == {name}


@pytest.mark.parametrize("name", METHODS)
def test_every_method_composes_and_builds(name: str) -> None:
    job = prepare_run(compose_one([f"method={name}"]))
    assert len(list(job.method.plan())) >= 1
    assert job.run.choices["method"] == name


@pytest.mark.parametrize("group", ["model", "data", "train", "prunable", "executor", "logger"])
def test_every_option_composes_and_builds(group: str) -> None:
    for file in (CONFIGS / group).glob("*.yaml"):
        prepare_run(compose_one([f"{group}={file.stem}", *MUST_BE_GIVEN.get(file.stem, [])]))


@pytest.mark.parametrize(("group", "method"), [("view", "sr_ste"), ("penalty", "group_lasso")])
def test_every_part_of_a_fit_composes_and_builds(group: str, method: str) -> None:
    files = list((CONFIGS / group).glob("*.yaml"))
    assert files
    for file in files:
        chosen = f"{group}@method.{group}={file.stem}"
        assert getattr(prepare_run(compose_one([f"method={method}", chosen])).method, group)


def test_experiments_and_options_need_no_plus_but_may_have_one() -> None:
    for bare in ("experiment=imp_mnist_lenet", "method=imp", "debug=one_batch", "seed=1"):
        assert composed(bare) == composed(f"+{bare}") == composed(f"++{bare}")
    assert composed("method=imp")[0]["method"]["remove"] == 0.2


def test_values_that_only_the_signature_knows_can_be_set() -> None:
    (config,) = composed("train.clip_norm=1", "prunable.exclude=[fc.weight]")
    assert config["train"]["clip_norm"] == 1
    assert config["prunable"]["exclude"] == ["fc.weight"]
    assert prepare_run(compose_one(["train.clip_norm=1"])).common.train.clip_norm == 1


def test_multirun_is_a_product() -> None:
    configs = composed("method=one_shot,random", "seed=0,1,2", "sparsity=choice(0.5,0.9)")
    made = [(c["method"].get("dense_first"), c["seed"], c["sparsity"]) for c in configs]
    first = (None, False)
    assert made == [(d, s, p) for d in first for s in (0, 1, 2) for p in (0.5, 0.9)]


def test_equal_points_of_a_product_are_one_run() -> None:
    assert len(composed("seed=0,0,1")) == 2


def test_a_sweep_of_experiments() -> None:
    names = [run.experiment for run in compose_runs(["experiment=imp_cifar10,imp_mnist_lenet"])]
    assert names == ["imp_cifar10"] * 3 + ["imp_mnist_lenet"] * 3


def test_the_grids_of_an_experiment() -> None:
    runs = compose_runs(["+experiment=quickstart"])
    made = {(r.choices["method"], r.config["sparsity"], r.config["seed"]) for r in runs}
    assert len(made) == len(runs) == 2 + 2 * 4 * 2 + 2
    assert ("random", 0.98, 1) in made


def test_what_is_typed_replaces_the_grid_and_duplicates_vanish() -> None:
    configs = composed("+experiment=quickstart", "seed=7")
    assert {config["seed"] for config in configs} == {7}
    assert len(configs) == 1 + 2 * 4 + 1
    assert len(composed("+experiment=imp_mnist_lenet", "seed=7,8")) == 2
    imp = compose_runs(["+experiment=quickstart", "method=imp", "seed=0"])
    assert [r.choices["method"] for r in imp] == ["imp"]


def test_runs_differ_in_variant_exactly_if_they_differ_in_more_than_seed_and_sparsity() -> None:
    def variant(*overrides: str) -> str:
        return compose_one(overrides).variant

    base = variant("method=random")
    assert base == variant("method=random", "seed=1", "sparsity=0.5", "logger=none")
    assert base == variant("method=random", "runtime.store=elsewhere", "executor=workers")
    assert base != variant("method=random", "train.epochs=3")
    assert base != variant("method=random", "prune@method.prune=random_uniform")


def printed(capsys: pytest.CaptureFixture[str], *given: str) -> str:
    assert run.main(given) == 0
    return capsys.readouterr().out


def test_cfg_job_prints_yaml_with_everything_resolved(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SPARSEKIT_STORE", "somewhere")
    text = printed(capsys, "--cfg", "job", "method=random", "seed=3", "sparsity=0.7")
    config = yaml.safe_load(text)
    assert config == composed("method=random", "seed=3", "sparsity=0.7")[0]
    assert config["method"]["sparsity"] == 0.7
    assert config["method"]["prune"]["score"]["seed"] == 3
    assert config["runtime"]["store"] == "somewhere"
    assert "${" not in text
    assert "hydra" not in text
    assert "&" not in text, "no anchors"
    assert max(map(len, text.splitlines())) < 100


def test_what_cfg_job_prints_can_be_composed_again(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = printed(capsys, "--cfg", "job", "method=imp", "seed=3")
    (tmp_path / "experiment").mkdir()
    (tmp_path / "experiment" / "again.yaml").write_text("# @package _global_\n# again\n" + text)
    again = compose_runs(["+experiment=again"], [tmp_path])[0]
    assert dict(again.config) == composed("method=imp", "seed=3")[0]


@pytest.fixture
def mine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A user's folder with an experiment, a method and a module of their own."""
    folder = tmp_path / "mine"
    (folder / "experiment").mkdir(parents=True)
    (folder / "method").mkdir()
    (folder / "experiment" / "first.yaml").write_text(
        "# @package _global_\n# My first experiment\ndefaults:\n  - override /method: oldest\n"
        "sweep:\n  - {seed: [5]}\n"
    )
    (folder / "method" / "oldest.yaml").write_text(
        "# Prunes what comes first\n"
        "defaults: [{/prune@prune: global_magnitude}, _self_]\n"
        "_target_: sparsekit.method.cycle.Method\n"
        "sparsity: ${sparsity}\ncycles: 1\ndense_first: false\n"
        "prune: {score: {_target_: first_scores.by_position, slope: 2.0}}\n"
    )
    (folder / "first_scores.py").write_text(
        "import torch\n\n"
        "def by_position(weights, masks, probe, *, slope: float, offset: float = 0.0):\n"
        "    ranks = {n: torch.arange(w.numel()).reshape(w.shape) for n, w in weights.items()}\n"
        "    return {n: offset - slope * rank.float() for n, rank in ranks.items()}\n"
    )
    monkeypatch.syspath_prepend(str(folder))
    yield folder
    sys.modules.pop("first_scores", None)


def test_users_bring_their_own_experiments_methods_and_modules(
    mine: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store = f"runtime.store={tmp_path / 'runs'}"
    assert run.main(["--config-dir", str(mine), "+experiment=first", *TINY, store]) == 0
    out = capsys.readouterr().out
    assert "oldest" in out
    (record,) = (tmp_path / "runs" / "named" / "first").glob("*.json")
    assert json.loads(record.read_text())["status"] == "done"


def test_mistakes_in_users_modules_name_the_place(
    mine: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = ["--config-dir", str(mine), "+experiment=first", "--dry-run"]
    for override, message in [
        ("method.prune.score.slpe=1", "first_scores.by_position has no such argument; nearest: sl"),
        ("train.optimizer.lr=0.1", "no such argument; the schedule sets the learning rate: train"),
        ("method.prune.score._target_=first_scores.by_positon", "cannot be imported"),
        ("method=oldst", "method=oldst: no such option; nearest: oldest"),
    ]:
        assert run.main([*given, override]) == 2
        assert message in capsys.readouterr().err


def test_help_lists_the_users_files_too(mine: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = printed(capsys, "--config-dir", str(mine), "--help")
    assert "Prunes what comes first" in out
    assert "My first experiment" in out


def interrupted_run(given: Sequence[str], started: Path, errors: Path) -> int:
    """Exit status of a run that is interrupted as soon as `started` exists."""

    def work() -> None:
        sys.stderr = errors.open("w", buffering=1)
        os._exit(run.main(given))

    pid = forked(work)
    wait_for(started)
    os.kill(pid, signal.SIGINT)
    return ended(pid)


@pytest.mark.parametrize("place", ["fit", "judge"])
def test_an_interrupt_leaves_a_clean_state(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str, capfd: pytest.CaptureFixture[str]
) -> None:
    store = Store(tmp_path / "runs")
    settings = [text for text in TINY if not text.startswith("train.epochs")]
    given = [*settings, "train.epochs=2000", f"runtime.store={store.root}"]
    if place == "fit":
        given.append("runtime.checkpoint_seconds=0.01")
        started = store.root / "work"
    else:
        started = tmp_path / "begun"
        given[-2] = "train.epochs=0.5"
        _stall_in_report(monkeypatch, started)
    errors = tmp_path / "errors"
    status = (
        interrupted_run(given, started, errors) if place == "judge" else _mid_fit(given, errors)
    )
    assert status == 130
    text = errors.read_text() + capfd.readouterr().err
    assert "interrupted; the same command goes on from here" in text
    assert "Traceback" not in text
    (record,) = (store.root / "named" / "custom").glob("*.json")
    assert json.loads(record.read_text())["status"] == "interrupted"
    claims = [folder.name for folder in (store.root / "work").glob("[!.]*/*")]
    assert len(claims) == 1
    assert claims[0].startswith("nobody.")


def _stall_in_report(monkeypatch: pytest.MonkeyPatch, begun: Path) -> None:
    import time

    def stall(*_: object) -> None:
        begun.touch()
        time.sleep(PATIENCE)

    monkeypatch.setattr(runner.NetworkJudge, "report", stall)


def _mid_fit(given: Sequence[str], errors: Path) -> int:
    from sparsekit.training.module import FitModule

    begun = errors.with_name("begun")
    end_step = FitModule.end_step

    def marked(self: FitModule) -> None:
        end_step(self)
        if self.step == 30:
            begun.touch()

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(FitModule, "end_step", marked)
        return interrupted_run(given, begun, errors)


def test_a_run_that_fails_keeps_its_finished_cycles_in_the_record(
    tmp_path: Path,
    run_tiny: Callable[..., tuple[Store, list[str]]],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    calls = []
    original = runner.NetworkJudge.report

    def fails_at_the_second(self: Any, state: Any, masks: Any) -> Any:
        calls.append(1)
        if len(calls) == 2:
            raise RuntimeError("the power is gone")
        return original(self, state, masks)

    monkeypatch.setattr(runner.NetworkJudge, "report", fails_at_the_second)
    given = [*TINY, "method=imp", "method.cycles=2", f"runtime.store={tmp_path / 'runs'}"]
    assert run.main(given) == 1
    err = capsys.readouterr().err
    assert "the power is gone" in err
    assert "1 of 1 runs failed; the same command goes on from there" in err
    (path,) = (tmp_path / "runs" / "named").rglob("*.json")
    record = json.loads(path.read_text())
    assert record["status"] == "failed"
    assert [row["cycle"] for row in record["rows"]] == [0]
    assert "the power is gone" in record["error"]
    assert run.main(given) == 0
    assert len(json.loads(path.read_text())["rows"]) == 3
