"""What docs/tasks.md and docs/adding-a-task.md tell people to write and type is done here."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path

import pytest

from sparsekit import run
from tests.docs.test_snippets import ROOT, blocks, commands, composes

PAGE = ROOT / "docs" / "tasks.md"
TUTORIAL = ROOT / "docs" / "adding-a-task.md"
FILES = re.compile(r"`(my_configs/[a-z/_]+\.yaml)`")


@pytest.fixture
def followed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """Every file of the tutorial is where it says; gives the arguments of its commands."""
    for name, content in zip(("my_problem", "my_data"), blocks(TUTORIAL, "python"), strict=True):
        (tmp_path / f"{name}.py").write_text(content)
    names, contents = FILES.findall(TUTORIAL.read_text()), blocks(TUTORIAL, "yaml")
    for name, content in zip(names, contents, strict=True):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(content)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    text = "\n".join(blocks(TUTORIAL, "bash")).replace("\\\n", " ")
    typed = [line.partition("sparsekit.run ")[2] for line in text.splitlines() if "run " in line]
    return [shlex.split(line) for line in typed]


def test_the_tutorial_as_written(
    followed: list[list[str]], capsys: pytest.CaptureFixture[str]
) -> None:
    tumours, spirals = followed
    assert run.main([*tumours, "train.epochs=20", "runtime.threads=1"]) == 0
    printed = capsys.readouterr().out
    assert "balanced" in printed
    assert "accuracy" in printed
    assert run.main([*spirals, "train.epochs=1", "runtime.threads=1"]) == 0
    metrics = [
        json.loads(path.read_text()) for path in Path("runs").glob("stages/ticket/*/metrics.json")
    ]
    own = [one for one in metrics if one["primary"]["name"] == "balanced_accuracy"]
    assert {one["primary"]["name"] for one in metrics} == {"balanced_accuracy", "accuracy"}
    assert own
    for one in own:
        assert one["primary"] == {
            "name": "balanced_accuracy",
            "direction": "max",
            "style": "percent",
        }
        found, left = one["test_sensitivity"], one["test_specificity"]
        assert one["test_balanced_accuracy"] == pytest.approx((found + left) / 2)
    # Far above what a network that says the same of every tumour would get.
    assert max(one["test_balanced_accuracy"] for one in own) > 0.9


@pytest.mark.parametrize("arguments", commands(PAGE), ids=" ".join)
def test_commands_of_the_page_compose(arguments: list[str]) -> None:
    assert composes(arguments)


def test_the_page_has_a_row_for_every_task() -> None:
    rows = re.findall(r"^\| `(\w+)` \| .* \| .* \|", PAGE.read_text(), re.MULTILINE)
    tasks = {path.stem for path in (ROOT / "configs" / "task").glob("*.yaml")}
    assert tasks <= set(rows)
