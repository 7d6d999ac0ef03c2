"""Fill tables in pages by the commands that stand above them: `python scripts/fill_pages.py PAGES`.

A page holds

    <!-- filled by: python -m sparsekit.report runs/named/NAME --format markdown -->
    <!-- end -->

and what is between becomes the output of the command. `--store DIR` reads results there instead of
in `runs`, which the page names all the same. Only reports are run. A page is written when all its
commands succeeded, or not at all.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import re
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

from sparsekit.report.__main__ import main as report

BLOCK = re.compile(r"(<!-- filled by: (.+?) -->\n)(.*?)(<!-- end -->)", re.DOTALL)
PREFIX = ["python", "-m", "sparsekit.report"]


def main(arguments: Sequence[str] | None = None) -> int:
    """Fill the pages that are named; 2 if one has nothing to fill or a command fails."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("pages", nargs="+", type=Path)
    parser.add_argument("--store", default="runs", help="where results are read")
    options = parser.parse_args(arguments)
    for page in options.pages:
        try:
            text = filled(page.read_text(encoding="utf-8"), options.store)
            page.write_text(text, encoding="utf-8")
        except (OSError, ValueError) as error:
            print(f"error: {page}: {error}", file=sys.stderr)
            return 2
    return 0


def filled(text: str, store: str) -> str:
    """Return a page with the output of its commands; ValueError if it has none, or one fails."""
    if not BLOCK.search(text):
        raise ValueError("it has no line `<!-- filled by: COMMAND -->` with `<!-- end -->` below")
    return BLOCK.sub(lambda found: f"{found[1]}{output(found[2], store)}\n{found[4]}", text)


def output(command: str, store: str) -> str:
    """Return what a report prints, read from `store`; ValueError if it fails."""
    words = shlex.split(command)
    if words[: len(PREFIX)] != PREFIX:
        raise ValueError(f"{command}: only {shlex.join(PREFIX)} is run")
    printed, told = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(printed), contextlib.redirect_stderr(told):
        status = report([re.sub(r"^runs(?=/|$)", store, word) for word in words[len(PREFIX) :]])
    if status:
        raise ValueError(f"{command}: {told.getvalue().strip()}")
    as_path = rf"(?<![\w./-]){re.escape(store)}(?![\w.-])"  # not the full stops of `--store .`
    return re.sub(as_path, "runs", printed.getvalue().rstrip("\n"))


if __name__ == "__main__":
    sys.exit(main())
