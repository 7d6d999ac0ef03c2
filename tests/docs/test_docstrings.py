"""Docstrings of functions say what to do, beginning with a verb; ruff's D401 knows some nouns."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

from tests.docs.test_snippets import ROOT

NO_VERBS = re.compile(
    "a|all|an|any|are|both|does|each|either|every|first|for|from|had|has|how|if|in|is|it|its|last|"
    "names|no|not|of|on|one|our|some|something|that|the|their|these|this|those|three|two|what|"
    "whatever|when|where|whether|which|who|whoever|whose|why|with|without",
    re.IGNORECASE,
)
PROPERTIES = ("property", "cached_property")


def functions(source: str) -> Iterator[tuple[str, str]]:
    """Yield name and docstring of every documented function that is not a property."""
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        decorators = [ast.unparse(one).rpartition(".")[2] for one in node.decorator_list]
        text = ast.get_docstring(node)
        if text is not None and not set(decorators) & set(PROPERTIES):
            yield node.name, text


def begins_with_a_verb(text: str) -> bool:
    first = re.match(r"[A-Z][a-z]+(?=[\s,;:.])", text)
    return first is not None and not NO_VERBS.fullmatch(first.group())


def test_docstrings_of_functions_begin_with_a_verb() -> None:
    def shown(file: Path, name: str, text: str) -> str:
        return f"{file.relative_to(ROOT)} {name}: {text.partition(chr(10))[0]}"

    wrong = [
        shown(file, name, text)
        for file in sorted((ROOT / "sparsekit").rglob("*.py"))
        for name, text in functions(file.read_text())
        if not begins_with_a_verb(text)
    ]
    assert wrong == []


def test_what_counts_as_a_verb() -> None:
    source = '''
class Shape:
    @functools.cached_property
    def area(self):
        """The area."""

    def scale(self, factor):
        """Multiply all sides."""

def area(shape):
    """What the shape covers."""

def corners(shape):
    """[x, y] of each corner."""
'''
    assert {name: begins_with_a_verb(text) for name, text in functions(source)} == {
        "scale": True, "area": False, "corners": False,
    }  # fmt: skip
