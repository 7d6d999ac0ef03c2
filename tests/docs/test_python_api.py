"""docs/python-api.md as a notebook: its snippets run in order and print what stands below them."""

from __future__ import annotations

import contextlib
import doctest
import io
import re
from pathlib import Path
from typing import Any

import pytest

from sparsekit import run
from tests.docs.test_snippets import ROOT, commands

PAGE = ROOT / "docs" / "python-api.md"
CELL = re.compile(r"```python\n(.*?)```\n\n```text\n(.*?)```", re.DOTALL)


def test_the_page_as_a_notebook(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("SPARSEKIT_STORE", raising=False)
    (command,) = commands(PAGE)
    assert run.main([*command, "runtime.threads=1", "runtime.accelerator=cpu"]) == 0
    cells = CELL.findall(PAGE.read_text())
    assert len(cells) == PAGE.read_text().count("```python"), "a snippet has no output below it"
    notebook: dict[str, Any] = {}
    for code, expected in cells:
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            exec(compile(code, str(PAGE), "exec"), notebook)
        same = doctest.OutputChecker().check_output(expected, printed.getvalue(), doctest.ELLIPSIS)
        assert same, f"{code}\nprinted\n{printed.getvalue()}\ninstead of\n{expected}"


def test_the_page_names_all_of_the_api() -> None:
    import sparsekit

    text = PAGE.read_text()
    assert all(f"`sparsekit.{name}(" in text for name in sparsekit.__all__)
