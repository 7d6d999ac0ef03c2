"""What the documents tell people to type is typed here."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from sparsekit import run

ROOT = Path(__file__).parents[2]
TUTORIAL = ROOT / "docs" / "adding-a-method.md"


def blocks(document: Path, language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", document.read_text(), re.DOTALL)


def commands(document: Path) -> list[list[str]]:
    """The arguments of every `python -m sparsekit.run` in a document's shell blocks."""
    joined = "\n".join(blocks(document, "bash")).replace("\\\n", " ")
    lines = [line for line in joined.splitlines() if "sparsekit.run" in line]
    return [shlex.split(line, comments=True)[3:] for line in lines if line.startswith("python")]


@pytest.mark.parametrize("arguments", commands(ROOT / "README.md"), ids=" ".join)
def test_readme_commands_compose(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    shown = {"--cfg", "--dry-run"} & set(arguments)
    assert run.main([*arguments] if shown or not arguments else [*arguments, "--dry-run"]) == 0
    assert capsys.readouterr().out


def test_tutorial_as_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for folder in ("method", "prune"):
        (tmp_path / "my_configs" / folder).mkdir(parents=True)
    method, prune = blocks(TUTORIAL, "yaml")
    (tmp_path / "my_configs" / "method" / "imp_layerwise.yaml").write_text(method)
    (tmp_path / "my_configs" / "prune" / "centred.yaml").write_text(prune)
    (tmp_path / "my_scores.py").write_text(blocks(TUTORIAL, "python")[0])
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    text = "\n".join(blocks(TUTORIAL, "bash")).replace("\\\n", " ")
    typed = [line.partition("sparsekit.run ")[2] for line in text.splitlines() if "run " in line]
    assert len(typed) == 2
    for line in typed:
        assert run.main([*shlex.split(line), "train.epochs=0.5"]) == 0
    printed = capsys.readouterr().out
    assert "imp_layerwise" in printed
    assert "65.70" in printed
    assert "one_shot" in printed
