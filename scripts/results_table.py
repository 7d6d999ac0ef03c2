"""Fill the table of published claims in README.md: `python scripts/results_table.py`.

Every page `experiments/NAME/README.md` may hold a table of claims that a report wrote, with what
was compared, by how much, and a verdict. All of them, those that came out against a paper as well,
become one table between

    <!-- claims of experiments: python scripts/results_table.py -->
    <!-- end -->

of the page. `--page FILE` fills another one, `--check` only says whether it is up to date (status 1
if it is not).
"""

from __future__ import annotations

import argparse
import re
import sys
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
BLOCK = re.compile(r"(<!-- claims of experiments: .+? -->\n)(.*?)(<!-- end -->)", re.DOTALL)
UNIT = re.compile(r"^claims \((.+)\)$")
HEADERS = (
    "claim", "sparsity", "compared", "n", "mean difference", "95% interval", "p (Holm)", "verdict",
    "as a whole",
)  # fmt: skip
VERDICTS = {
    "supported": "reproduced",
    "contradicted": "contradicted",
    "no evidence": "not reproduced: no evidence either way",
    "not testable": "not testable here",
}
"""Verdicts of a report, and how a reader of the front page is told of them."""
Line = Mapping[str, str]


def main(arguments: Sequence[str] | None = None) -> int:
    """Fill the page, or check it; 2 if a page of an experiment cannot be read as one."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--experiments", type=Path, default=ROOT / "experiments")
    parser.add_argument("--page", type=Path, default=ROOT / "README.md")
    parser.add_argument("--check", action="store_true", help="change nothing")
    options = parser.parse_args(arguments)
    try:
        before = options.page.read_text(encoding="utf-8")
        after = filled(before, overview(options.experiments, beside=options.page.parent))
    except (OSError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    if options.check:
        return int(before != after)
    options.page.write_text(after, encoding="utf-8")
    return 0


def filled(text: str, table: str) -> str:
    """Return a page with the table in its place; ValueError if it has none."""
    if not BLOCK.search(text):
        raise ValueError("the page has no line `<!-- claims of experiments: COMMAND -->`")
    return BLOCK.sub(lambda found: f"{found[1]}{table}\n{found[3]}", text)


def overview(experiments: Path, *, beside: Path) -> str:
    """Return how many claims came out how, and a line for each, linked from a page in `beside`."""
    counted: Counter[str] = Counter()
    lines = ["| claim | difference, 95 % interval | n | verdict |", "|---|---|---|---|"]
    for page in sorted(experiments.glob("*/README.md")):
        link = page.relative_to(beside).as_posix()
        for claim, group in groupby(claims_in(page), key=lambda line: line["claim"]):
            parts = list(group)
            verdict = verdict_of(page, parts[0])
            counted[verdict] += 1
            several = len(parts) > 1
            measured = "<br>".join(difference(part, judged=several) for part in parts)
            seeds = "<br>".join(part["n"] or "-" for part in parts)
            lines.append(f"| [{claim}]({link}) | {measured} | {seeds} | {verdict} |")
    told = ", ".join(f"{counted[name]} {name}" for name in VERDICTS.values() if counted[name])
    return "\n".join([f"{counted.total()} claims: {told}.", "", *lines])


def verdict_of(page: Path, line: Line) -> str:
    """Return what came of the whole claim; ValueError for a verdict that no report gives."""
    found = line["as a whole"]
    if found not in VERDICTS:
        raise ValueError(f"{page}: verdict {found!r} is none of {', '.join(VERDICTS)}")
    return VERDICTS[found]


def difference(line: Line, *, judged: bool) -> str:
    """Return what was measured at one sparsity, or why nothing was; `judged`: with its verdict."""
    where = f" at {line['sparsity']} %" if line["sparsity"] else ""
    if not line["mean difference"]:
        return f"{line['verdict']}{where}"
    verdict = f": {line['verdict']}" if judged else ""
    return f"{line['mean difference']} {line['unit']} ({line['95% interval']}){where}{verdict}"


def claims_in(page: Path) -> Iterator[Line]:
    """Yield the lines of the tables of claims in a page, each with the unit of its numbers."""
    unit, inside = "", False
    for text in page.read_text(encoding="utf-8").splitlines():
        if found := UNIT.match(text):
            unit = "points" if found[1] == "%" else found[1].replace("_", " ")
        cells = [cell.strip() for cell in text.strip("|").split("|")]
        if tuple(cells) == HEADERS:
            inside = True
        elif not text.startswith("|"):
            inside = False
        elif inside and set(text) - set("|-: "):
            yield {**dict(zip(HEADERS, cells, strict=True)), "unit": unit}


if __name__ == "__main__":
    sys.exit(main())
