"""What the documents tell people to type is typed here."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from sparsekit import run

ROOT = Path(__file__).parents[2]
TUTORIAL = ROOT / "docs" / "adding-a-method.md"
CARDS = sorted((ROOT / "docs" / "methods").glob("*.md"))
GUIDES = [ROOT / "docs" / "distillation.md"]
DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
METHODS = sorted(path.stem for path in (ROOT / "configs" / "method").glob("*.yaml"))


def blocks(document: Path, language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", document.read_text(), re.DOTALL)


def commands(document: Path) -> list[list[str]]:
    """The arguments of every `python -m sparsekit.run` in a document's shell blocks."""
    joined = "\n".join(blocks(document, "bash")).replace("\\\n", " ")
    lines = [line for line in joined.splitlines() if "sparsekit.run" in line]
    return [shlex.split(line, comments=True)[3:] for line in lines if line.startswith("python")]


def composes(arguments: list[str]) -> bool:
    shown = {"--cfg", "--dry-run"} & set(arguments)
    return run.main([*arguments] if shown or not arguments else [*arguments, "--dry-run"]) == 0


@pytest.mark.parametrize("arguments", commands(ROOT / "README.md"), ids=" ".join)
def test_readme_commands_compose(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert composes(arguments)
    assert capsys.readouterr().out


@pytest.mark.parametrize("card", [*CARDS, *GUIDES], ids=lambda path: path.stem)
def test_commands_of_a_card_compose(card: Path, capsys: pytest.CaptureFixture[str]) -> None:
    typed = commands(card)
    assert typed, "a card says how to run what it is about"
    wrong = [" ".join(arguments) for arguments in typed if not composes(arguments)]
    assert not wrong, capsys.readouterr().err


def test_every_method_is_in_the_index_with_a_card() -> None:
    """A row of the table: | `name` | [title](card.md) | ..."""
    index = ROOT / "docs" / "methods" / "README.md"
    rows = re.findall(r"^\| `(\w+)` \| \[[^]]+\]\(([\w-]+\.md)\)", index.read_text(), re.MULTILINE)
    assert sorted(name for name, _ in rows) == METHODS
    for name, card in rows:
        assert f"method={name}" in text_of(index.parent / card), f"{card} does not run {name}"
    assert {card for _, card in rows} | {"README.md", "controls.md"} == {c.name for c in CARDS}


def text_of(card: Path) -> str:
    """A card with swept methods written out: method=a,b is method=a method=b."""
    return re.sub(
        r"method=(\w+(?:,\w+)+)",
        lambda found: " ".join(f"method={name}" for name in found[1].split(",")),
        card.read_text(),
    )


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_relative_links_lead_somewhere(document: Path) -> None:
    prose = re.sub(r"```.*?```", "", document.read_text(), flags=re.DOTALL)
    targets = re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", prose)
    dead = [t for t in targets if "://" not in t and not (document.parent / t).exists()]
    assert not dead


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
    assert "Layer-wise IMP" in printed
    assert "65.70" in printed
    assert "One-shot (centred)" in printed
