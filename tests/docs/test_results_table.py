"""The front page shows every claim of the experiments, with its verdict, as their pages have it."""

from __future__ import annotations

from pathlib import Path

import pytest

from scripts.results_table import main

PAGE = """\
# Methods

claims (%)

| claim | sparsity | compared | n | mean difference | 95% interval | p (Holm) | verdict | \
as a whole |
|---|---|---|---|---|---|---|---|---|
| A over B | 90.00 | A less B | 3 | +2.00 | +1.50 to +2.50 | 0.010 | supported | contradicted |
| A over B | 99.00 | A less B | 3 | -3.00 | -3.50 to -2.50 | 0.010 | contradicted | contradicted |
| C is there | | C less B | | | | | not testable: no such result | not testable |

| other | table |
|-------|-------|
| 1 | 2 |
"""
FRONT = """\
Before.

<!-- claims of experiments: python scripts/results_table.py -->
old
<!-- end -->
After.
"""
TABLE = """\
2 claims: 1 contradicted, 1 not testable here.

| claim | difference, 95 % interval | n | verdict |
|---|---|---|---|
| [A over B](experiments/methods/README.md) | +2.00 points (+1.50 to +2.50) \
at 90.00 %: supported<br>\
-3.00 points (-3.50 to -2.50) at 99.00 %: contradicted | 3<br>3 | contradicted |
| [C is there](experiments/methods/README.md) | not testable: no such result | - | \
not testable here |
"""


@pytest.fixture
def asked(tmp_path: Path) -> list[str]:
    (tmp_path / "experiments" / "methods").mkdir(parents=True)
    (tmp_path / "experiments" / "methods" / "README.md").write_text(PAGE)
    (tmp_path / "README.md").write_text(FRONT)
    return ["--experiments", str(tmp_path / "experiments"), "--page", str(tmp_path / "README.md")]


def test_claims_become_one_table(asked: list[str]) -> None:
    assert main([*asked, "--check"]) == 1
    assert main(asked) == 0
    assert Path(asked[-1]).read_text() == FRONT.replace("old\n", TABLE)
    assert main([*asked, "--check"]) == 0


@pytest.mark.parametrize(
    ("wrong", "said"),
    [(("| not testable |", "| maybe |"), "'maybe' is none of supported"), (None, "has no line")],
)
def test_what_cannot_be_read_is_said(
    asked: list[str],
    capsys: pytest.CaptureFixture[str],
    wrong: tuple[str, str] | None,
    said: str,
) -> None:
    page = Path(asked[1]) / "methods" / "README.md"
    if wrong is None:
        Path(asked[-1]).write_text("nothing to fill")
    else:
        page.write_text(PAGE.replace(*wrong))
    assert main(asked) == 2
    assert said in capsys.readouterr().err


def test_the_front_page_is_up_to_date() -> None:
    assert main(["--check"]) == 0
