"""Mistakes in a command: one message that names the place, at once, and nothing is trained."""

from __future__ import annotations

import itertools
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from sparsekit import run

LIGHT = [
    ("metod=imp", "metod: no such key at the top level; nearest: method"),
    ("modle.name=x", "modle: no such key at the top level; nearest: model"),
    ("method=imq", "method=imq: no such option; nearest: imp"),
    ("+method=imq", "method=imq: no such option; nearest: imp"),
    ("experiment=quickstrat", "experiment=quickstrat: no such option; nearest: quickstart"),
    ("+experiment=quickstrat", "experiment=quickstrat: no such option; nearest: quickstart"),
    ("-m +experiment=quickstart,imp_cifar11", "experiment=imp_cifar11: no such option; nearest"),
    ("+debug=two_batch", "debug=two_batch: no such option; nearest: one_batch"),
    ("model=null", "model=null: no such option; valid: lenet_300_100"),
    ("data=", "data=: no such option; valid: cifar10"),
    ("train.epoch=3", "train.epoch: sparsekit.training.settings.Train has no such argument; neare"),
    ("train.optimizer.momentun=0.5", "train.optimizer.momentun: sparsekit.training.optimizers.sgd"),
    ("method.remve=0.1", "method.remve: sparsekit.method.cycle.Method has no such argument; nea"),
    ("runtime.stor=x", "no such argument; nearest: store"),
    ("logger.projekt=x", "no such argument; nearest: project"),
    ("method._target_=sparsekit.method.cycle.Methd", "has no function 'Methd'; there is Method"),
    ("method._target_=sparsekit.method.cycel.Method", "nearest: sparsekit.method.cycle"),
    ("method._target_=nomodule.Method", "method._target_: 'nomodule.Method' cannot be imported"),
    ("method._target_=json.no_function", "method._target_: 'json.no_function' cannot be imported"),
    ("method._target_=json.__name__", "is a str, not a function or class"),
    ("method._target_=Method", "method._target_: 'Method' cannot be imported"),
    ("method._target_=5", "method._target_=5 is not an import path"),
    ("method=imp method.prune.score._target_=sparsekit.core.scores.magnitud", "'magnitud'; there"),
    ("method=imp method.prune.score._target_=sparsekit.core.prune.prune", "needs score, allocate"),
    ("prune@method.prune=global_magnitud", "prune=global_magnitud: no such option; nearest"),
    ("prune=lamp", "prune: nothing is chosen there that could be replaced"),
    ("method=imp prune@methd.prune=lamp", "Did you mean to override prune@method.prune?"),
    ("prune@methd.prune=lamp", "prune@methd.prune: nothing is chosen there"),
    ("train.epochs=abc", "train.epochs='abc' is not valid; expected float"),
    ("train.epochs=true", "train.epochs=True is not valid; expected float"),
    ("train.batch_size=1.5", "train.batch_size=1.5 is not valid; expected int"),
    ("train.clip_norm=x", "train.clip_norm='x' is not valid; expected None or float"),
    ("train.optimizer=sgd", "train.optimizer='sgd' is not valid; expected a leaf"),
    ("train.schedule.peak=big", "train.schedule.peak='big' is not valid; expected float"),
    ("method.prune=magnitude", "method.prune='magnitude' is not valid; expected None or a leaf"),
    (
        "method.sources=x",
        "method.sources='x' is not valid; expected 'apart' or 'particles' or 'ticket'",
    ),
    ("method.variations=2", "method.variations=2 is not valid; expected list"),
    ("prunable.exclude=fc.weight", "prunable.exclude='fc.weight' is not valid; expected list"),
    ("logger.mode=bogus", "expected 'auto' or 'offline' or 'online'"),
    ("seed=abc", "seed=abc: Value 'abc' of type 'str' could not be converted to Integer"),
    ("seed=1.5", "Value '1.5' of type 'float' could not be converted to Integer"),
    ("seed=-1", "seed=-1 is outside 0 <= seed < 2^63"),
    ("seed=9999999999999999999", "is outside 0 <= seed < 2^63"),
    ("+experimnt=quickstart", "experimnt: no such key at the top level; nearest: experiment"),
    ("contrl=reinitialise", "contrl: no such key at the top level; nearest: control"),
    ("-m method=imp sparsity=0.5,0.9", "give method.remove=null method.sparsity=0.5"),
    ("sweep=[{method:[one_shot,imp],sparsity:[0.5]}]", "sparsity=0.5 would be ignored: method=imp"),
    ("method=one_shot method.sparsity=0.5 sparsity=0.5", "sparsity=0.5 would be ignored"),
    (
        "method=imp_budgeted method.retrain_epochs=0 method.retrain_times=2",
        "method.retrain_times=2 would be ignored: with method.retrain_epochs=0",
    ),
    (
        "method=one_shot method.retrain_epochs=0 "
        "method.retrain={_target_:sparsekit.core.learning_rates.cyclic}",
        "method.retrain={_target_:sparsekit.core.learning_rates.cyclic} would be ignored",
    ),
    ("resources=gpu", "resources=gpu would be ignored: runs are computed in this process"),
    (
        "resources.gpus=1 cluster=local",
        "resources.gpus=1 would be ignored: runs are computed in pr",
    ),
    ("sparsity=1.5", "sparsity=1.5 is outside 0 <= sparsity < 1"),
    ("sparsity=1", "sparsity=1.0 is outside 0 <= sparsity < 1"),
    ("sparsity=nan", "sparsity=nan is outside 0 <= sparsity < 1"),
    ("sparsity=dense", "Value 'dense' of type 'str' could not be converted to Float"),
    ("method=imp method.remove=1", "method.remove=1 is outside 0 <= remove < 1"),
    ("method=imp method.average_from=-0.1", "average_from=-0.1 is outside 0 <= average_from < 1"),
    ("train.epochs=-1", "train.epochs=-1 is below 0"),
    ("train.epochs=0", "train.epochs=0 trains nothing"),
    ("train.epochs=nan", "train.epochs=nan is not a finite number"),
    ("train.schedule.peak=inf", "train.schedule.peak=inf is not a finite number"),
    ("train.batch_size=0", "train.batch_size=0 is below 1"),
    ("train.accumulate=5", "train.batch_size=64 is not a multiple of train.accumulate=5"),
    (
        "train.precision=bogus",
        "train.precision='bogus' is not one of 32-true, bf16-mixed",
    ),
    ("runtime.devices=0", "runtime: devices=0, threads=0 is too few"),
    ("runtime.progress=loud", "runtime.progress='loud' is not one of auto, bar, lines, none"),
    ("runtime.store=/dev/null/runs", "runtime.store=/dev/null/runs cannot be written to"),
    ("-m runtime.store=a,b", "the runs of one sweep have different values of runtime.store"),
    ("executor=jobs", "executor=jobs needs cluster=slurm"),
    ("executor=workers executor.num_workers=0", "num_workers=0 is not positive"),
    ("executor=workers runtime.devices=2", "each on one device"),
    ("runtime=null", "runtime: expected a leaf with `_target_`, found None"),
    ("train={}", "train={}: no such option; valid: cifar_imp"),
    ("~train.schedule", "train: sparsekit.training.settings.Train needs schedule"),
    ("~method", "method: expected a leaf with `_target_`, found None"),
    ("~seed", "seed: cannot be left out"),
    ("hydra/launcher=submitit_slurm", "does not use Hydra's launchers, sweepers and run folders"),
    ("+hydra/launcher=x", "does not use Hydra's launchers, sweepers and run folders"),
    ("-m hydra/sweeper=x", "does not use Hydra's launchers, sweepers and run folders"),
    ("hydra.run.dir=x", "does not use Hydra's launchers, sweepers and run folders"),
    ("hydra=x", "does not use Hydra's launchers, sweepers and run folders"),
    ("seed=0,1", "'seed=0,1' asks for several runs; add -m"),
    ("method=imp,random", "'method=imp,random' asks for several runs; add -m"),
    ("--cfg job seed=0,1", "'seed=0,1' asks for several runs; add -m"),
    ("-m method=glob(*)", "method=glob(*): only lists, `range` and `choice` can be swept"),
    ("seed=0 seed=1", "seed=0 seed=1: seed is given more than once"),
    ("method=imp +method=dense", "method=imp +method=dense: method is given more than once"),
    ("seed", "'seed' is neither an option nor key=value"),
    ("seed=", "Value '' of type 'str' could not be converted to Integer"),
    ("=5", "error: "),
    ("sweep=5", "sweep=5: Invalid value assigned"),
    ("sweep=[{seed:[]}]", "sweep: its grids contain no run"),
    ("sweep=[{seed:1,foo:2}]", "foo: no such key at the top level"),
    ("seed=${foo}", "Interpolation key 'foo' not found"),
    ("-m method=imp,random seed=0,-1", "error: method=imp seed=-1: seed=-1 is outside 0 <= seed"),
    ("-m --zip seed,sparsity seed=0,1 sparsity=0.5,0.8,0.9", "seed has 2, sparsity has 3"),
    ("-m --zip seed,sparsity seed=0,1", "zip seed,sparsity: sparsity is not given as a list"),
    ("--zip seed,sparsity seed=0 sparsity=0.5", "zip seed,sparsity: seed is not given as a list"),
    ("-m --zip seed seed=0,1", "zip seed: two keys or more are walked in step"),
    ("-m --zip seed,seed seed=0,1", "zip seed,seed: seed is walked in step already"),
    ("-m --exclude seeed=0 seed=0,1", "exclude seeed=0: the sweep has no key seeed; nearest: seed"),
    ("-m --exclude seed=2 seed=0,1", "exclude seed=2: no combination of the sweep agrees with it"),
    ("-m --exclude seed=0,1 seed=0,1", "'seed=0,1': '1' is not key=value"),
    ("-m --exclude seed=[0 seed=0,1", "'seed=[0' is neither an option nor key=value"),
    ("-m --exclude seed=0,seed=1 seed=0,1", "seed is given more than once"),
    ("-m --exclude method=imp method=imp seed=0,1", "every one of them is excluded"),
    ("sweep=[{zip:{seed:[0,1],sparsity:[0.5]}}]", "seed has 2, sparsity has 1"),
    ("sweep=[{zip:{seed:[0,1]}}]", "zip seed: two keys or more are walked in step"),
    ("sweep=[{zip:{seed:0,sparsity:1}}]", "is not a mapping of keys to lists"),
    ("sweep=[{seed:1,zip:{seed:[0],sparsity:[0]}}]", "seed is in a grid twice"),
    ("sweep=[{seed:[0,1],exclude:[{seed:2}]}]", "no combination of the sweep agrees with it"),
    ("sweep=[{seed:[0,1],exclude:[{sed:0}]}]", "the sweep has no key sed; nearest: seed"),
    ("sweep=[{seed:[0,1],exclude:[{}]}]", "is not a list of mappings such as {method: snip}"),
    ("--sweep /nonexistent/sweep.yaml", "--sweep /nonexistent/sweep.yaml: "),
    ("--cfg job --zip a,b", "--cfg job shows one configuration; leave out --zip"),
    ("--cfg job --exclude a=b", "--cfg job shows one configuration; leave out --exclude"),
    ("--cfg job --sweep x.yaml", "--cfg job shows one configuration; leave out --sweep"),
    ("--bogus", "unrecognized arguments: --bogus; the options are -m, --zip KEY,KEY, --exclude"),
    ("--cfg all", "invalid choice: 'all'"),
    ("--config-dir /nonexistent method=imp", "--config-dir /nonexistent: no such folder"),
]
HELP = ["", "--help", "-h", "method=imp --help"]
LISTINGS = ["--cfg job +experiment=quickstart", "--cfg job method=imp"]

WITHOUT_TORCH = """
import contextlib, io, json, sys
from sparsekit import run
answers = []
for command in json.load(sys.stdin):
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        status = run.main(command.split(" ") if command else [])
    heavy = sorted({"torch", "lightning", "timm", "wandb", "matplotlib"} & set(sys.modules))
    answers.append([status, out.getvalue(), err.getvalue(), heavy])
json.dump(answers, sys.stdout)
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("empty")


@pytest.fixture(scope="module")
def answers(folder: Path) -> dict[str, list[Any]]:
    """All commands in one new process: status, output, errors, heavy imports."""
    commands = [*HELP, *LISTINGS, *(command for command, _ in LIGHT)]
    package = str(Path(run.__file__).parent.parent)
    ended = subprocess.run(
        [sys.executable, "-c", WITHOUT_TORCH],
        input=json.dumps(commands),
        cwd=folder,
        env={**os.environ, "PYTHONPATH": package},
        capture_output=True,
        text=True,
        check=True,
    )
    return dict(zip(commands, json.loads(ended.stdout), strict=True))


@pytest.mark.parametrize(("command", "message"), LIGHT, ids=[command for command, _ in LIGHT])
def test_mistakes_are_answered_at_once_with_one_message(
    answers: dict[str, list[Any]], folder: Path, command: str, message: str
) -> None:
    status, out, err, heavy = answers[command]
    assert message in err
    assert status == 2
    assert err.startswith("error: ")
    assert err.count("\n") == 1, "one line"
    assert out == ""
    assert heavy == []
    assert list(folder.iterdir()) == [], "nothing is left behind"


@pytest.mark.parametrize("command", HELP)
def test_help_lists_what_there_is(answers: dict[str, list[Any]], command: str) -> None:
    status, out, err, heavy = answers[command]
    assert (status, err, heavy) == (0, "", [])
    assert "python -m sparsekit.run +experiment=quickstart" in out
    for group in ("experiment", "method"):
        lines = out.partition(f"{group}=\n")[2].splitlines()
        listed = list(itertools.takewhile(lambda line: line.startswith("  "), lines))
        for file in (run_configs() / group).glob("*.yaml"):
            (line,) = [line for line in listed if line.startswith(f"  {file.stem} ")]
            assert len(line.split(maxsplit=1)[1]) > 10, line


@pytest.mark.parametrize("command", LISTINGS)
def test_looking_needs_no_torch(answers: dict[str, list[Any]], command: str) -> None:
    status, out, err, heavy = answers[command]
    assert (status, err, heavy) == (0, "", [])
    assert len(out.splitlines()) > 10


def run_configs() -> Path:
    from sparsekit.configuration.compose import CONFIGS

    return CONFIGS


@pytest.mark.parametrize("command", [[], ["method=imq"]])
def test_a_new_process_answers_without_torch(folder: Path, command: list[str]) -> None:
    package = str(Path(run.__file__).parent.parent)
    ended = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "sparsekit.run", *command],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": package},
        capture_output=True,
        text=True,
        check=False,
    )
    lines = [line for line in ended.stderr.splitlines() if line.startswith("import time:")]
    imported = {line.rpartition("|")[2].strip() for line in lines}
    assert "sparsekit.configuration" in imported
    assert not {"torch", "lightning", "timm", "wandb", "matplotlib"} & imported


@pytest.mark.parametrize("file", sorted(run_configs().glob("*/*.yaml")), ids=lambda f: f.stem)
def test_every_option_says_in_its_first_comment_what_it_is(file: Path) -> None:
    from sparsekit.configuration.compose import summary

    first, *more = (line for line in file.read_text().splitlines() if line.startswith("#"))
    expected = more[0] if first.startswith("# @package") else first
    assert summary(file) == expected.removeprefix("# ")
    assert len(summary(file)) > 10
    assert len(summary(file)) <= 110


HEAVY = [
    ("method=imp method.cycles=-1", "cycles=-1"),
    ("method=imp method.rewind_step=-1", "rewind_step=-1 is negative"),
    ("method=imp method.rewind_step=100000", "is method.rewind_step too late"),
    ("method=one_shot method.variations=[]", "variations is empty"),
    ("method.cycles=2", "nothing is pruned"),
    ("method=one_shot method.remove=0.5", "give either `sparsity`"),
    ("train.optimizer.weight_decay=-1", "weight_decay=-1 is negative"),
    ("train.batch_size=5000", "train.batch_size=5000 is more than the 1257 training examples"),
    ("prunable.exclude=[no_such.weight]", "exclude pattern 'no_such.weight' matches none of"),
    ("model=timm model.name=resnet81", "timm has no such model; nearest: resnet"),
    ("data=mnist", "train-images-idx3-ubyte"),
    ("data=cifar10", "nowhere"),
]


@pytest.mark.parametrize(("command", "message"), HEAVY, ids=[command for command, _ in HEAVY])
def test_mistakes_that_take_torch_to_see_are_found_before_anything_is_trained(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], command: str, message: str
) -> None:
    model = [] if "model=" in command else ["model=mlp"]
    places = [f"runtime.store={tmp_path / 'runs'}", f"runtime.data={tmp_path / 'nowhere'}"]
    status = run.main([*command.split(), *model, *places, "logger=none"])
    out, err = capsys.readouterr()
    (line,) = [line for line in err.splitlines() if "error: " in line]
    assert message in line
    assert status == 2
    assert "Traceback" not in err
    assert out == ""
    assert not (tmp_path / "runs").exists()


def test_a_missing_data_set_says_where_it_was_looked_for_and_what_to_do(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = ["data=mnist", f"runtime.data={tmp_path}/none", f"runtime.store={tmp_path}/runs"]
    assert run.main([*given, "logger=none"]) == 2
    err = capsys.readouterr().err
    assert f"{tmp_path}/none/MNIST/raw" in err
    assert "Put the four IDX files" in err
    assert not (tmp_path / "runs").exists()


def test_one_bad_run_of_a_sweep_stops_all_before_the_first(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = ["-m", "model=mlp", "method=dense,imp", "method.rewind_step=100000", "logger=none"]
    assert run.main([*given, f"runtime.store={tmp_path}/runs"]) == 2
    assert not (tmp_path / "runs").exists()
    assert capsys.readouterr().out == ""


def test_a_mistake_in_a_file_of_the_user_names_the_place(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "method").mkdir()
    for text, message in [
        ("_target_: sparsekit.method.cycle.Method\nremvoe: 0.5\n", "method.remvoe"),
        ("_target_: [\n", "error: "),
        ("remove: 0.5\n", "method"),
        ("defaults: [no_such]\n", "no_such"),
    ]:
        (tmp_path / "method" / "mine.yaml").write_text(text)
        assert run.main(["--config-dir", str(tmp_path), "method=mine", "--dry-run"]) == 2
        err = capsys.readouterr().err
        assert message in err
        assert err.count("\n") == 1
