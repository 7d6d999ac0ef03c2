"""Pairs, exclusions and files of sweeps, and mistakes in one run of many."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from sparsekit import run
from sparsekit.configuration.compose import compose_runs
from sparsekit.configuration.config import ConfigError
from sparsekit.configuration.sweep_files import read_sweep
from sparsekit.runs.runner import thawed
from tests.docs.test_snippets import blocks, commands, composes

ROOT = Path(__file__).parents[2]
GUIDE = ROOT / "docs" / "sweeps.md"
SHIPPED = sorted((ROOT / "experiments").glob("*/sweep.yaml"))
NUM_RUNS = 100
Asked = Sequence[tuple[str, ...]]


def made(*overrides: str, **how: object) -> list[tuple[str, ...]]:
    return [one.overrides for one in compose_runs(list(overrides), **how)]  # type: ignore[arg-type]


def test_keys_are_walked_in_step_and_multiplied_with_the_others() -> None:
    typed = ("method=snip,random", "seed=0,1", "sparsity=0.5,0.9")
    assert made(*typed, zipped=[["seed", "sparsity"]]) == [
        ("method=snip", "seed=0", "sparsity=0.5"),
        ("method=snip", "seed=1", "sparsity=0.9"),
        ("method=random", "seed=0", "sparsity=0.5"),
        ("method=random", "seed=1", "sparsity=0.9"),
    ]
    assert len(made(*typed)) == 8


def test_two_zips_are_multiplied_and_values_are_parsed_as_hydra_does() -> None:
    walked = ("seed=range(3)", "sparsity=0.5,0.7,0.9", "train.epochs=1,2", "train.batch_size=8,16")
    pairs = [["seed", "sparsity"], ["train.epochs", "train.batch_size"]]
    found = made("method=random", *walked, zipped=pairs)
    assert len(found) == 3 * 2
    last = ("seed=2", "sparsity=0.9", "train.epochs=2", "train.batch_size=16")
    assert found[-1] == ("method=random", *last)


def test_a_grid_has_zip_and_exclude_of_its_own() -> None:
    grid = "{method:[snip,random],zip:{sparsity:[0.5,0.9],train.epochs:[1,2]},exclude:[%s]}"
    entry = "{method:snip,sparsity:0.5}"
    found = made(f"sweep=[{grid % entry}]")
    assert [one[1:] for one in found] == [
        ("method=snip", "sparsity=0.9", "train.epochs=2"),
        ("method=random", "sparsity=0.5", "train.epochs=1"),
        ("method=random", "sparsity=0.9", "train.epochs=2"),
    ]


def test_a_grid_refers_to_what_each_of_its_runs_has() -> None:
    fields = "method:imp,method.remove:null,method.sparsity:'${sparsity}',sparsity:[0.5,0.8]"
    runs = compose_runs([f"sweep=[{{{fields}}}]"])
    assert [one.config["method"]["sparsity"] for one in runs] == [0.5, 0.8]
    assert runs[0].variant == runs[1].variant  # one curve, whose runs differ in sparsity alone


def test_a_grid_refers_to_what_only_its_runs_have() -> None:
    """Of `model=resnet20` a width is not written anywhere: the function has a default."""
    fields = "model.width:[4,8],label:'Width ${model.width}'"
    runs = compose_runs(["model=resnet20", f"sweep=[{{{fields}}}]"])
    assert [one.labels["run"] for one in runs] == ["Width 4", "Width 8"]
    with pytest.raises(ConfigError, match=r"model\.width=4.*'model\.depht' not found"):
        compose_runs(
            ["model=resnet20", f"sweep=[{{{fields.replace('{model.width', '{model.depht')}}}]"]
        )


def test_what_is_typed_selects_before_a_grid_excludes_the_values_in_its_place() -> None:
    grid = "sweep=[{method:[snip,random],sparsity:[0.5,0.9],exclude:[{method:snip,sparsity:0.5}]}]"
    assert [one[2:] for one in made(grid, "method=snip")] == [("sparsity=0.9",)]
    assert [one[2:] for one in made(grid, "sparsity=0.5")] == [("method=random",)]
    assert len(made(grid, "sparsity=0.7")) == 2, "0.7 is not what is excluded"


def test_exclusions_compare_values_not_spellings() -> None:
    typed = ("method=snip,random", "sparsity=0.50,0.9", "train.clip_norm=null,1")
    assert len(made(*typed, excluded=[{"method": "snip", "sparsity": "5e-1"}])) == 6
    assert len(made(*typed, excluded=[{"train.clip_norm": "1.0"}])) == 4
    assert len(made(*typed, excluded=[{"train.clip_norm": "null"}, {"sparsity": "0.9"}])) == 2


def test_what_an_experiment_sweeps_can_be_excluded_from_the_command_line() -> None:
    whole = made("experiment=quickstart")
    fewer = made("experiment=quickstart", excluded=[{"method": "random", "sparsity": "0.98"}])
    assert len(whole) - len(fewer) == 2
    assert not any({"method=random", "sparsity=0.98"} <= set(one) for one in fewer)


def test_commas_in_brackets_and_quotes_belong_to_values(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    spans = "method.span=[0.1,0.5],[0.2,0.7]"
    given = ["--dry-run", "-m", "method=soup_gradual", spans, f"runtime.store={tmp_path}"]
    assert run.main([*given, "--exclude", "method=soup_gradual, method.span=[0.1, 0.5]"]) == 0
    out = capsys.readouterr().out
    assert "1 run, " in out
    assert run.main([*given, "--exclude", "method.span=[0.1,0.6]"]) == 2
    assert "exclude method.span=[0.1,0.6]: no combination" in capsys.readouterr().err


@pytest.fixture
def write(tmp_path: Path) -> Callable[[str], Path]:
    """Writes a sweep file in a folder that is called `pairs`."""

    def written(text: str) -> Path:
        file = tmp_path / "pairs" / "sweep.yaml"
        file.parent.mkdir(exist_ok=True)
        file.write_text(text)
        return file

    return written


FILE = """
overrides: ['method=snip,random', 'train.epochs=1,2', 'train.batch_size=8,16']
zip: [[train.epochs, train.batch_size]]
sweep: [{sparsity: [0.5, 0.9], seed: [0, 1]}]
exclude: [{method: snip, sparsity: 0.5, seed: 1}]
"""


def test_a_file_is_what_could_have_been_typed(write: Callable[[str], Path]) -> None:
    sweep = read_sweep(write(FILE))
    assert sweep.name == "pairs-sweep"
    found = made(sweep=sweep)
    assert len(found) == 2 * 2 * (2 * 2) - 2
    assert found[4][:3] == ("method=snip", "train.epochs=2", "train.batch_size=16")
    grid = "sweep=[{sparsity:[0.5,0.9],seed:[0,1]}]"
    typed = ("method=snip,random", "train.epochs=1,2", "train.batch_size=8,16", grid)
    entry = {"method": "snip", "sparsity": "0.5", "seed": "1"}
    zipped = [["train.epochs", "train.batch_size"]]
    same = made(*typed, zipped=zipped, excluded=[entry])
    assert [(*one[:3], *one[4:]) for one in same] == found


def test_what_is_typed_beside_a_file_selects_in_its_grids_and_adds(
    write: Callable[[str], Path],
) -> None:
    sweep = read_sweep(write(FILE))
    found = made("seed=0", "model=mlp", sweep=sweep)
    assert len(found) == 2 * 2 * 2
    assert all({"seed=0", "model=mlp"} <= set(one) for one in found)
    assert len(made("seed=5", sweep=sweep)) == 2 * 2 * 2


def test_its_grids_take_the_place_of_the_experiments(write: Callable[[str], Path]) -> None:
    sweep = read_sweep(write("overrides: [experiment=quickstart]\nsweep: [{seed: [3, 4]}]"))
    runs = compose_runs([], sweep=sweep)
    assert [one.config["seed"] for one in runs] == [3, 4]
    assert {one.choices["experiment"] for one in runs} == {"quickstart"}
    plain = read_sweep(write("overrides: [experiment=quickstart]"))
    assert len(made(sweep=plain)) == len(made("experiment=quickstart"))


BROKEN = [
    ("overides: []", "overides: no such key in a sweep file; nearest: overrides"),
    ("seed: [0, 1]", "seed: no such key in a sweep file; nearest: sweep"),
    ("", "expected overrides, zip, exclude, sweep, claims; found None"),
    ("- seed=0", "expected overrides, zip, exclude, sweep, claims; found ['seed=0']"),
    ("overrides: seed=0", "overrides='seed=0' is not a list"),
    ("overrides: [seed=0,1]", "overrides: 1 is not text; write one a line: - seed=0,1,2"),
    ("overrides: [", "sweep.yaml: while parsing"),
    ("overrides: [seed=0, seed=1]", "seed is given more than once"),
    ("overrides: [metod=imp]", "metod: no such key at the top level; nearest: method"),
    ("overrides: ['seed=0,1']\nzip: [seed]", "zip: 'seed' is not a list of keys"),
    ("overrides: ['seed=0,1']\nzip: [[seed, sparsity]]", "zip: sparsity is not among the file's"),
    ("overrides: ['seed=0,1', 'sparsity=0.5,0.6,0.7']\nzip: [[seed, sparsity]]", "has 2, sparsity"),
    ("overrides: ['seed=0,1']\nexclude: [seed]", "is not a list of mappings"),
    ("overrides: ['seed=0,1']\nexclude: [{seed: 2}]", "exclude seed=2: no combination"),
    ("overrides: ['seed=0,1']\nexclude: [{sed: 1}]", "the sweep has no key sed; nearest: seed"),
    ("sweep: [seed]", "sweep: 'seed' is not a grid"),
    ("sweep: [{seed: [0, 1], zip: {sparsity: [0.5], train.epochs: [1, 2]}}]", "sparsity has 1"),
]


@pytest.mark.parametrize(("text", "message"), BROKEN, ids=[text for text, _ in BROKEN])
def test_mistakes_in_a_file_are_one_message(
    write: Callable[[str], Path], capsys: pytest.CaptureFixture[str], text: str, message: str
) -> None:
    assert run.main(["--sweep", str(write(text))]) == 2
    out, err = capsys.readouterr()
    assert message in err
    assert err.startswith("error: ")
    assert err.count("\n") == 1
    assert out == ""


@pytest.mark.parametrize(
    "typed", ["method=dense", "+train.epochs=3", "sweep=[{seed:0}]"], ids=["method", "+", "sweep"]
)
def test_what_a_file_gives_cannot_be_typed_again(
    write: Callable[[str], Path], capsys: pytest.CaptureFixture[str], typed: str
) -> None:
    assert run.main(["--sweep", str(write(FILE)), typed]) == 2
    err = capsys.readouterr().err
    assert f"error: {typed}: the sweep file gives" in err
    assert "only one can count" in err


@pytest.mark.parametrize("file", SHIPPED, ids=lambda file: file.parent.name)
def test_every_sweep_file_composes(file: Path) -> None:
    sweep = read_sweep(file)
    runs = compose_runs([], sweep=sweep)
    assert {one.experiment for one in runs} == {f"{file.parent.name}-sweep"}
    assert len(runs) > 1


def test_files_over_one_experiment_and_the_experiment_are_recorded_apart(tmp_path: Path) -> None:
    """Each states claims of its own, which would else be those of all three."""
    claim = "{says: more, better: imp, than: random}"
    typed = ["experiment=quickstart", "method=imp", "seed=0"]
    files = [tmp_path / name for name in ("first.yaml", ".second.yaml")]
    for number, file in enumerate(files):
        claims = f"claims: [{', '.join([claim] * number)}]"
        file.write_text(f"overrides: [experiment=quickstart, seed=0]\n{claims}\n")
    composed = [compose_runs(["method=imp"], sweep=read_sweep(file))[0] for file in files]
    composed += compose_runs([f"+{typed[0]}", *typed[1:]])[:1]
    told = [(one.experiment, len(one.claims or ())) for one in composed]
    folder = tmp_path.name
    assert told[:2] == [(f"{folder}-first", 0), (f"{folder}-.second", 1)]
    assert told[2][0] == "quickstart"
    assert len({one.variant for one in composed}) == 1
    assert thawed(dataclasses.asdict(composed[0])).experiment == f"{folder}-first"
    older = {k: v for k, v in dataclasses.asdict(composed[0]).items() if k != "sweep"}
    assert thawed(older).experiment == "quickstart"


def test_the_quickstarts_file() -> None:
    (file,) = (file for file in SHIPPED if file.parent.name == "quickstart")
    runs = compose_runs([], sweep=read_sweep(file))
    assert len(runs) == 3 * (2 + 2 * 2 * 2) - 2 * 2
    pairs = {(r.config["train"]["batch_size"], r.config["train"]["schedule"]["peak"]) for r in runs}
    assert pairs == {(32, 0.05), (64, 0.1), (128, 0.2)}


MISTAKES = [
    pytest.param("train.epochs=-1", "train.epochs=-1 is below 0", id="composed"),
    pytest.param("method.remove=1.0", "remove=1.0 is outside 0 <= remove < 1", id="built"),
    pytest.param("train.batch_size=5000", "more than the 1257 training examples", id="rehearsed"),
]


@pytest.mark.parametrize(("wrong", "reason"), MISTAKES)
def test_one_mistake_among_many_runs_is_named_in_one_message(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], wrong: str, reason: str
) -> None:
    """The wrong value is paired with one of the learning rates, all others are right."""
    key, _, value = wrong.partition("=")
    right = {"train.epochs": "0.5", "method.remove": "0.5", "train.batch_size": "64"}[key]
    rates = [str((100 + number) / 10000) for number in range(NUM_RUNS)]
    values = [right] * NUM_RUNS
    values[NUM_RUNS // 2] = value
    given = ["method=imp", "model=mlp", "logger=none", "runtime.accelerator=cpu"]
    swept = [f"train.schedule.peak={','.join(rates)}", f"{key}={','.join(values)}"]
    store = f"runtime.store={tmp_path / 'runs'}"
    zipped = ["--zip", f"train.schedule.peak,{key}"]
    assert run.main(["-m", *zipped, *given, *swept, store]) == 2
    out, err = capsys.readouterr()
    (line,) = [line for line in err.splitlines() if line.startswith("error: ")]
    assert f"train.schedule.peak={rates[NUM_RUNS // 2]} {wrong} {store}: " in line
    assert reason in line
    assert line.count("train.schedule.peak=") == 1
    assert out == ""
    assert "Traceback" not in err
    assert not (tmp_path / "runs").exists()


def test_the_only_run_is_not_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"^seed=-1 is outside"):
        compose_runs(["method=imp", "seed=-1"])


@pytest.mark.parametrize("arguments", commands(GUIDE), ids=" ".join)
def test_commands_of_the_guide_compose(
    arguments: list[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(ROOT)
    assert composes(arguments), capsys.readouterr().err


def test_the_file_in_the_guide_composes(write: Callable[[str], Path]) -> None:
    text, *_ = blocks(GUIDE, "yaml")
    assert len(made(sweep=read_sweep(write(text)))) == 3 * 2 * 2 * 2 - 2 * 2
