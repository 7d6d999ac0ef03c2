"""Build the documentation site: `python scripts/build_site.py`, then open build/site/index.html.

Pages lie where their readers find them in the repository. They are gathered with what they link to,
so that links hold in both places; the gallery and the reference are made on the way. Exit status 1:
a link or a docstring is wrong, and mkdocs says which.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parents[1]
PAGES = ROOT / "build" / "pages"
SETTINGS = ROOT / "docs" / "mkdocs.yml"
ROOMS = ("docs", "experiments", "slurm", "benchmarks")
LINK = re.compile(r"\]\(([^)#\s]+)")
PICTURE = re.compile(r"!\[([^]]*)\]\(([^)\s]+)\)")
REFERENCE = {
    "results": ("Results in Python", ["sparsekit.load", "sparsekit.masks", "sparsekit.results"]),
    "scores": ("Scores", ["sparsekit.core.scores"]),
    "allocate": ("Allocations", ["sparsekit.core.allocate"]),
    "schedules": ("Schedules", ["sparsekit.core.schedules", "sparsekit.core.learning_rates"]),
    "movers": ("Movers and rules", ["sparsekit.core.movers", "sparsekit.core.rules"]),
    "averaging": ("Merges", ["sparsekit.core.averaging"]),
    "method": ("Cycles and methods", ["sparsekit.method.cycle"]),
    "tasks": ("Tasks", ["sparsekit.tasks.types", "sparsekit.tasks.metric"]),
    "masking": ("Masks in any Lightning project", ["sparsekit.training.masking"]),
    "evaluation": (
        "Evaluation",
        [
            f"sparsekit.evaluation.{name}"
            for name in ("calibration", "detection", "disparity", "significance", "attacks")
        ],
    ),
}
"""Pages of the reference: what users call, give or implement."""


def main() -> int:
    shutil.rmtree(PAGES, ignore_errors=True)
    pages = list(gather())
    gallery(pages)
    reference()
    settings = PAGES.parent / "mkdocs.yml"
    shutil.copy(SETTINGS, settings)
    settings.write_text(with_navigation(SETTINGS.read_text()))
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "-f", str(settings)]
    quiet = {**os.environ, "NO_MKDOCS_2_WARNING": "1"}  # an advertisement
    return subprocess.run(command, check=False, cwd=ROOT, env=quiet).returncode


def gather() -> Iterator[Path]:
    """Copy all Markdown, and the files and listings of folders that it links to; yield it."""
    for page in [ROOT / "README.md", *(p for room in ROOMS for p in (ROOT / room).rglob("*.md"))]:
        yield placed(page)
        for target in LINK.findall(without_code(page.read_text())):
            linked = (page.parent / target).resolve()
            if "://" not in target and linked.suffix != ".md" and linked.is_file():
                placed(linked)


def placed(file: Path) -> Path:
    """Copy a file to the same place below the pages."""
    place = PAGES / file.relative_to(ROOT)
    place.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy(file, place)
    return place


def without_code(text: str) -> str:
    return re.sub(r"```.*?```", "", text, flags=re.DOTALL)


def title_of(page: Path) -> str:
    """Return the first heading of a page."""
    found = re.search(r"^# (.+)$", page.read_text(), re.MULTILINE)
    return found[1] if found else page.stem


def gallery(pages: list[Path]) -> None:
    """Write the page of all pictures that the experiments show."""
    lines = ["# Gallery", "", "Every picture is drawn from a store by the command on its page."]
    for page in sorted(p for p in pages if p.is_relative_to(PAGES / "experiments")):
        pictures = PICTURE.findall(without_code(page.read_text()))
        folder = page.parent.relative_to(PAGES)
        if pictures:
            lines += ["", f"## [{title_of(page)}]({folder / page.name})", ""]
            lines += [f"![{text}]({folder / name})\n" for text, name in pictures]
    (PAGES / "gallery.md").write_text("\n".join(lines) + "\n")


def reference() -> None:
    """Write the pages whose text mkdocstrings takes from docstrings."""
    (PAGES / "api").mkdir()
    for name, (title, parts) in REFERENCE.items():
        text = "\n\n".join(f"::: {part}" for part in parts)
        (PAGES / "api" / f"{name}.md").write_text(f"# {title}\n\n{text}\n")


def with_navigation(text: str) -> str:
    """Replace folders in the navigation by their pages."""
    head, _, nav = text.partition("nav:\n")
    return f"{head}{yaml.safe_dump({'nav': opened(yaml.safe_load(nav))})}"


def opened(entry: object) -> object:
    """Return an entry of the navigation with the pages of folders in their places."""
    if isinstance(entry, dict):
        return {title: opened(one) for title, one in entry.items()}
    if not isinstance(entry, list):
        return pages_in(str(entry)) if (PAGES / str(entry)).is_dir() else entry
    each = [opened(one) for one in entry]
    return [page for one in each for page in (one if isinstance(one, list) else [one])]


def pages_in(folder: str) -> list[str]:
    """Return the pages of a folder, its README first."""
    found = (PAGES / folder).rglob("*.md")
    in_order = sorted(found, key=lambda page: (page.name != "README.md", page))
    return [str(page.relative_to(PAGES)) for page in in_order]


if __name__ == "__main__":
    sys.exit(main())
