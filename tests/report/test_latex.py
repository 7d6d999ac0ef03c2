"""Tables for papers: LaTeX, and what is set in bold."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest

from sparsekit.report.collect import collect
from sparsekit.report.emphasis import NOTE
from sparsekit.report.formats import Table, markdown
from sparsekit.report.latex import latex
from sparsekit.report.rows import rows_of
from sparsekit.report.tables import main_sections
from tests.report.writer import Writer, output, three_seeds

TABLE = Table(
    headers=["method", "test accuracy (%)", "empty", "n", "size"],
    cells=[
        ["IMP (a_b & 50 %)", "-1.00 +- 0.50", "", "2 of 3", "1,000"],
        ["#2 <x>", "3.1e-05", "", "1", "5"],
    ],
    columns=[],
    values=[],
    notes=["100 % of {it}"],
    bold={(0, 1), (1, 0)},
)
EXPECTED = r"""\begin{tabular}{lrrr}
\toprule
method & test accuracy (\%) & n & size \\
\midrule
IMP (a\_b \& 50 \%) & $\mathbf{-1.00 \pm 0.50}$ & $2$ of 3 & $1{,}000$ \\
\textbf{\#2 \textless{}x\textgreater{}} & $3.1 \cdot 10^{-5}$ & $1$ & $5$ \\
\bottomrule
\end{tabular}

{\footnotesize
100 \% of \{it\}\par}"""
ENGINE = shutil.which("pdflatex") or shutil.which("tectonic")


def test_it_is_escaped_and_aligned() -> None:
    assert latex(TABLE) == EXPECTED


@pytest.mark.skipif(ENGINE is None, reason="there is no TeX here")
def test_it_compiles(tmp_path: Path) -> None:
    packages = r"\documentclass{article}\usepackage{booktabs}\begin{document}"
    (tmp_path / "table.tex").write_text(f"{packages}\n{latex(TABLE)}\n\\end{{document}}\n")
    subprocess.run([str(ENGINE), "table.tex"], cwd=tmp_path, check=True, capture_output=True)


def test_a_report_is_one_text_with_comments(
    writer: Writer, capsys: pytest.CaptureFixture[str]
) -> None:
    three_seeds(writer)
    asked = ("--format", "latex", "--against", "imp", "--commands")
    other = writer.ticket("other", 0.5, 0.8)
    writer.record("snip", 0, [(0.8, other)], overrides=["method=snip"])
    shown = output(capsys, writer.store.root, *asked)
    assert r"imp & $80.00$ & $83.00 \pm 3.61$ & $3$" in shown
    assert r"\paragraph{differences to imp (\%)}" in shown
    assert f"% snip at 80.00 %, seed 0: {other}" in shown
    assert "%   python -m sparsekit.run method=snip 'sweep=[]'" in shown


def rows_written(writer: Writer, **accuracies: Sequence[float]) -> Table:
    for method, values in accuracies.items():
        for seed, value in enumerate(values):
            key = writer.ticket(f"{method}{seed}", value, 0.9)
            writer.record(method, seed, [(0.9, key)])
    ((_, table),) = main_sections(rows_of(collect([writer.store.root])), bold=True)
    return table


def test_bold_are_the_best_and_those_that_may_be_as_good(writer: Writer) -> None:
    table = rows_written(
        writer, best=(0.93, 0.94, 0.95), near=(0.93, 0.95, 0.93), worse=(0.60, 0.61, 0.62)
    )
    assert [line[0] for line in table.cells] == ["best", "near", "worse"]
    assert table.bold == {(0, 2), (1, 2)}
    assert NOTE in table.notes
    assert "**94.00 +- 1.00**" in markdown(table)


def test_nothing_is_bold_where_nothing_is_told_apart(writer: Writer) -> None:
    table = rows_written(writer, one=(0.93, 0.95), other=(0.94, 0.93))
    assert not table.bold
    assert NOTE not in table.notes
