"""Where pages of sweeps lie. Standard library only: `status` asks."""

from __future__ import annotations

from pathlib import Path

PAGES = "pages"


def page_of(root: Path, sweep: str) -> Path:
    """Return where the page of a sweep lies in its store.

    >>> page_of(Path("runs"), "quickstart-5ae753bb").as_posix()
    'runs/pages/quickstart-5ae753bb.html'
    """
    return root / PAGES / f"{sweep}.html"
