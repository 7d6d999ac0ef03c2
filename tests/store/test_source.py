"""Editing a user's code is a new result; its comments, and everybody else's code, are not."""

from __future__ import annotations

import functools
import importlib
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy
import pytest

from sparsekit.core.scores import magnitude
from sparsekit.store.identity import Stage
from sparsekit.store.source import source_digest

SCORE = '''
"""A score of somebody's own."""
from {helper} import factor

def score(weights, masks, probe, *, power=1.0):
    """Say something about it."""
    return {{name: factor() * w.abs() ** power for name, w in weights.items()}}
'''


@pytest.fixture
def imported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    """Write a module and a helper it imports from, under new names, and import the module."""
    monkeypatch.syspath_prepend(str(tmp_path))
    numbers = iter(range(100))

    def write(score: str = SCORE, helper: str = "def factor():\n    return 2\n") -> Any:
        number = next(numbers)
        folder = tmp_path / str(number)
        folder.mkdir()
        monkeypatch.syspath_prepend(str(folder))
        for name, text in (
            ("own_helper", helper),
            ("own_score", score.format(helper="own_helper")),
        ):
            (folder / f"{name}.py").write_text(text)
        for name in ("own_helper", "own_score"):
            monkeypatch.delitem(sys.modules, name, raising=False)
        source_digest.__globals__["_digest"].cache_clear()
        return importlib.import_module("own_score").score

    return write


def test_code_and_what_it_imports_are_part_of_an_address(imported: Callable[..., Any]) -> None:
    def key(score: Any) -> str:
        return Stage("pruned", {"prune": functools.partial(score, power=2.0)}).key

    first = key(imported())
    assert key(imported()) == first
    assert key(imported(SCORE.replace("abs()", "square()"))) != first
    assert key(imported(helper="def factor():\n    return 3\n")) != first


def test_comments_layout_and_docstrings_are_not(imported: Callable[..., Any]) -> None:
    first = source_digest(imported())
    changed = SCORE.replace("Say something", "Say more").replace(
        "    return", "    # why\n    return"
    )
    assert changed != SCORE
    assert source_digest(imported(changed)) == first is not None


def test_code_of_this_package_and_of_installed_ones_is_not_read() -> None:
    assert source_digest(magnitude) is None
    assert source_digest(numpy.linalg.norm) is None
    assert source_digest(functools.reduce) is None
