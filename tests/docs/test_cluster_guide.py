"""The guide to clusters and its templates: what they tell people to type is complete and valid."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from sparsekit.configuration import config
from sparsekit.configuration.compose import compose_one, summary
from sparsekit.sweeps.clusters import Slurm
from sparsekit.sweeps.resources import Resources
from tests.docs.test_snippets import ROOT, commands, composes

SLURM = ROOT / "slurm"
GUIDE = SLURM / "README.md"
TEMPLATES = sorted(SLURM.glob("*/*.yaml"))
TYPED = re.compile(r"python -m sparsekit\.run((?:.*\\\n)*.*)")


def typed_in(template: Path) -> list[list[str]]:
    """Arguments of the commands in a template's comments, without `...` and what calls them."""
    text = re.sub(r"^# ?", "", template.read_text(), flags=re.MULTILINE)
    found = (match.replace("\\\n", " ").replace('"', "") for match in TYPED.findall(text))
    return [[word for word in shlex.split(line) if word != "..."] for line in found]


@pytest.mark.parametrize("arguments", commands(GUIDE), ids=" ".join)
def test_commands_of_the_guide_compose(
    arguments: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(ROOT)
    assert composes(arguments), capsys.readouterr().err


@pytest.mark.parametrize("template", TEMPLATES, ids=lambda path: path.stem)
def test_a_template_is_complete(
    template: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(ROOT)
    group = template.parent.name
    others = ["cluster=slurm"] if group == "resources" else []
    composed = compose_one([f"{group}={template.stem}", *others], [SLURM]).config
    cluster, resources = (config.build(composed[name]) for name in ("cluster", "resources"))
    assert isinstance(cluster, Slurm)
    assert isinstance(resources, Resources)
    cluster.refuse(resources)
    assert composed[group] != compose_one(["cluster=slurm"]).config[group]
    assert summary(template)[0].isupper()
    for arguments in typed_in(template):
        assert composes(arguments), capsys.readouterr().err


def test_templates_say_what_was_verified_and_are_in_the_guide() -> None:
    text = GUIDE.read_text()
    assert TEMPLATES
    for template in TEMPLATES:
        assert f"({template.relative_to(SLURM)})" in text
        assert "# Verified on the test cluster" in template.read_text()
        assert typed_in(template) or template.stem == "gpu_share"
