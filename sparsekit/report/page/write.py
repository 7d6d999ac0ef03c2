"""Writing a page: one file with everything in it, which asks no network for anything."""

from __future__ import annotations

import html
import json
import uuid
from collections.abc import Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Any

from sparsekit.report.collect import Record
from sparsekit.report.page.content import content_of
from sparsekit.report.page.sweeps import Facts
from sparsekit.system.files import finite, replacing

TEMPLATE, STYLE = "page.html", "page.css"
SCRIPTS = ("elements.js", "table.js", "scale.js", "chart.js", "figures.js", "page.js")
ESCAPED = {"<": "\\u003c", ">": "\\u003e", "&": "\\u0026"}
"""In strings of JSON: what could end the element it stands in, or begin another."""


def write_page(
    path: Path,
    records: Sequence[Record],
    *,
    title: str | None = None,
    sweeps: Sequence[Facts] | None = None,
    damaged: Sequence[str] = (),
) -> None:
    """Write the page of these runs, whole or not at all, and never through a link in its place."""
    content = content_of(records, title=title, sweeps=sweeps, damaged=damaged)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{uuid.uuid4().hex}.partial.html")
    with replacing(path, partial) as temporary:
        temporary.write_text(page_text(content), encoding="utf-8", errors="backslashreplace")


def page_text(content: Mapping[str, Any]) -> str:
    """Put the content of a page, its style and its scripts into the template."""
    parts = {
        "{{title}}": html.escape(str(content["title"])),
        "{{style}}": _part(STYLE),
        "{{script}}": "\n".join(_part(name) for name in SCRIPTS),
        "{{content}}": embedded(content),
    }
    before, text = "", _part(TEMPLATE)
    # One after the other: what a user wrote is never searched for a placeholder.
    for name, part in parts.items():
        head, _, text = text.partition(name)
        before += head + part
    return before + text


def embedded(content: Mapping[str, Any]) -> str:
    """Return JSON that may stand in an element of HTML, whatever is in its strings.

    >>> embedded({"label": "</script>"})
    '{"label": "\\\\u003c/script\\\\u003e"}'
    """
    text = json.dumps(finite(content), allow_nan=False)
    return "".join(ESCAPED.get(character, character) for character in text)


def _part(name: str) -> str:
    return resources.files("sparsekit.report.page").joinpath(name).read_text(encoding="utf-8")
