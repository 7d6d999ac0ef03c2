"""What mkdocs needs to know of our docstrings: examples are code, and brackets are shapes."""

from __future__ import annotations

import re
from typing import Any

from griffe import Extension, Object


class PlainDocstrings(Extension):
    """Turns docstrings into the Markdown that they would be if mkdocs were their only reader."""

    def on_instance(self, *, obj: Object, **_: Any) -> None:
        """Rewrite the docstring of an object that was read."""
        if obj.docstring is not None:
            obj.docstring.value = in_markdown(obj.docstring.value)


def in_markdown(text: str) -> str:
    r"""Fence examples, and escape the brackets of shapes, which are no references.

    >>> in_markdown("Masks [N].\n\n>>> 1 + 1\n2")
    'Masks \\[N\\].\n\n```pycon\n>>> 1 + 1\n2\n```'
    """
    parts = re.split(r"((?:^|\n\n)>>> .*?(?=\n\n|$))", text, flags=re.DOTALL)
    return "".join(_fenced(p) if p.lstrip().startswith(">>>") else _escaped(p) for p in parts)


def _fenced(example: str) -> str:
    gap = example[: len(example) - len(example.lstrip("\n"))]
    return f"{gap}```pycon\n{example.strip()}\n```"


def _escaped(prose: str) -> str:
    pieces = re.split(r"(`[^`]*`)", prose)
    escaped = [p if p.startswith("`") else re.sub(r"([\[\]])", r"\\\1", p) for p in pieces]
    return "".join(escaped)
