"""Comparing groups of finished runs: of all seeds or not at all, stored once, shown by reports."""

from __future__ import annotations

import dataclasses
import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from sparsekit import study
from sparsekit.evaluation.disparity import exemplars
from sparsekit.method.comparisons import Compared, ensembles
from sparsekit.method.studies import CannotStudy
from sparsekit.report import __main__ as report
from sparsekit.report.collect import collect
from sparsekit.report.compared import compared
from sparsekit.report.rows import Row, rows_of
from sparsekit.run import main as run
from sparsekit.status.garbage import find_garbage
from sparsekit.store.store import Store
from sparsekit.store.tensors import load_tensors
from sparsekit.tasks.regression import regression
from tests.conftest import TINY

COMPARISON = "sparsekit.method.comparisons"


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two seeds of a dense and of a sparse method, compared in every way."""
    store = tmp_path_factory.mktemp("compared") / "runs"
    asked = ("method=dense,one_shot", "sparsity=0.7", "seed=0,1", f"runtime.store={store}")
    assert run(["-m", *TINY, *asked]) == 0
    assert study.main(["ensembles", str(store)]) == 0
    assert (
        study.main(["exemplars,mask_overlap,connectivity", str(store), "--against", "dense"]) == 0
    )
    return store


@pytest.fixture
def store(trained: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(trained, tmp_path / "runs"))


def rows(store: Path) -> list[Row]:
    return [row for row in rows_of(collect([store])) if row.label == "Dense" or row.sparsity]


def contents(store: Path) -> dict[tuple[str, ...], Mapping[str, Any]]:
    """What was found, by its name and the tickets."""
    at = Store(store)
    found = {}
    for key in at.keys("comparison"):
        description = at.description(key)
        name = description["config"]["comparison"]["_target_"].rpartition(".")[2]
        found[name, *description["inputs"]] = at.read(key, "study.json")
    return found


def logits(store: Path, tickets: tuple[str, ...]) -> tuple[torch.Tensor, torch.Tensor]:
    at, found = Store(store), {}
    for key in at.keys("outputs"):
        (ticket,) = at.description(key)["inputs"]
        found[ticket] = load_tensors(at, key, "outputs.safetensors", ("logits", "classes"))
    return torch.stack([found[key]["logits"] for key in tickets]), found[tickets[0]]["classes"]


def test_they_say_what_their_definitions_give(trained: Path) -> None:
    dense, sparse = (tuple(one.ticket for one in row.results) for row in rows(trained))
    found = contents(trained)
    assert len(found) == 2 + 1 + 2 + 2

    answers, labels = logits(trained, sparse)
    right = (answers.softmax(2).mean(0).argmax(1) == labels).double().mean()
    together = found["ensembles", *sparse]
    assert together["num_networks"] == 2
    assert together["accuracy"] == pytest.approx(float(right))
    assert together["gain"] == pytest.approx(together["accuracy"] - together["mean"]["accuracy"])

    paying = found["exemplars", *sparse, *dense]
    others = logits(trained, dense)[0].argmax(2)
    expected = exemplars(others, answers.argmax(2))
    assert paying["exemplars"] == expected.nonzero()[:, 0].tolist()
    assert 0 < paying["share"] == pytest.approx(float(expected.double().mean()))
    assert sum(one["num_exemplars"] for one in paying["classes"]) == len(paying["exemplars"])
    assert paying["accuracy"]["dense"] == pytest.approx(float((others == labels).double().mean()))

    masks = found["mask_overlap", sparse[0], dense[0]]
    assert masks["total"] == pytest.approx(0.3, abs=1e-3)

    path = found["connectivity", sparse[0], dense[0]]
    metrics = [Store(trained).read(key, "metrics.json") for key in (sparse[0], dense[0])]
    ends = [1 - one["test_accuracy"] for one in metrics]
    assert [path["test_error"][0], path["test_error"][-1]] == pytest.approx(ends)
    assert len(path["train_error"]) == len(path["alphas"]) == 11
    assert path["density"]["path"] == path["density"]["second"] == 1 > path["density"]["first"]
    assert not path["masks_are_equal"]


def test_what_was_compared_is_found_again_and_shown(
    store: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = contents(store)
    asked = [str(store), "--against", "dense", "runtime.accelerator=cpu"]
    assert study.main(["exemplars,mask_overlap", *asked]) == 0
    out = capsys.readouterr().out
    assert "One-shot (magnitude) at 70.00 % against Dense at 0.00 %: exemplars" in out
    assert contents(store) == before
    assert report.main([str(store), "--studies", "--last"]) == 0
    shown = [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()]
    assert any("70.00 exemplars against Dense share" in line for line in shown)
    assert any("70.00 mask_overlap against Dense total" in line for line in shown)
    assert not any("exemplars.mean" in line for line in shown)
    # The same pair with other settings is no other pair.
    finer = f"{{_target_: {COMPARISON}.connectivity, num_points: 12}}"
    records = sorted((store / "named").rglob("*-seed0-*.json"))
    sparse, dense = (next(one for one in records if name in one.name) for name in ("one", "dense"))
    assert study.main([finer, str(sparse), "--against", str(dense)]) == 0
    (pairs,) = [one for one in compared(rows(store))[0] if one.name.startswith("connectivity")]
    assert sorted(len(one["alphas"]) for one in pairs.contents) == [11, 12]


def test_they_stay_while_what_they_compare_does(store: Path) -> None:
    def garbage() -> set[str]:
        found = find_garbage(store, days=-1).garbage
        return {one.path.parent.name for one in found if one.path.parent.parent.name == "stages"}

    assert garbage() == {"outputs"}
    next((store / "named").rglob("dense-seed1-*.json")).unlink()
    next((store / "named").rglob("one_shot-seed1-*.json")).unlink()
    for file in (store / "sweeps").rglob("*.json"):
        file.unlink()
    assert "comparison" in garbage()


def test_a_part_is_never_taken_for_the_whole(
    store: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    whole = rows(store)
    assert len(compared(whole)[0]) == 5
    other = dataclasses.replace(whole[1].results[0], seed=2, ticket="ticket-" + 20 * "0")
    grown = dataclasses.replace(whole[1], results=(*whole[1].results, other))
    shown, notes = compared([whole[0], grown])
    assert sorted(one.name for one in shown) == [
        "connectivity against Dense",
        "ensembles",
        "mask_overlap against Dense",
    ]
    assert len(notes) == 2
    assert "has 2 of the 3 seeds of One-shot" in notes[0]

    file = next((store / "named").rglob("one_shot-seed1-*.json"))
    file.write_text(json.dumps({**json.loads(file.read_text()), "status": "interrupted"}))
    before = contents(store)
    assert study.main(["exemplars", str(store), "--against", "dense"]) == 1
    assert "is not done for seeds 1: nothing is made of a part" in capsys.readouterr().out
    file.write_text("{")
    assert study.main(["exemplars", str(store), "--against", "dense"]) == 2
    assert "nothing is made of a part of a group" in capsys.readouterr().err
    assert contents(store) == before


def test_a_damaged_one_is_left_out(store: Path) -> None:
    key = next(iter(Store(store).keys("comparison")))
    (store / "stages" / "comparison" / key / "study.json").write_text("{}")
    shown, notes = compared(rows(store))
    assert sum(len(one.contents) for one in shown) == 6
    assert "this comparison is left out" in notes[0]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["exemplars"], "exemplars compares two groups: say --against METHOD"),
        (["ensembles", "--against", "dense"], "ensembles is of one group: leave out --against"),
        (["classes", "--against", "dense"], "--against is for what compares: exemplars"),
        (
            ["mask_overlap", "--against", "imp"],
            "--against imp: there is Dense, One-shot (magnitude), and",
        ),
        (
            [f"{{_target_: {COMPARISON}.connectivity, num_points: 3}}", "--against", "dense"],
            "num_points=3: at least 11 are needed",
        ),
    ],
)
def test_mistakes(
    arguments: list[str], message: str, trained: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = contents(trained)
    assert study.main([arguments[0], str(trained), *arguments[1:]]) == 2
    assert message in capsys.readouterr().err
    assert contents(trained) == before


def test_a_task_without_classes_is_refused_before_anything_is_computed(tmp_path: Path) -> None:
    judge = SimpleNamespace(identity=SimpleNamespace(task=regression))
    asked = Compared((("ticket-0", "ticket-1"),), lambda key: judge, Store(tmp_path))
    with pytest.raises(CannotStudy, match="needs a classification"):
        ensembles(asked)
    assert not list(tmp_path.iterdir())
