"""Tables as LaTeX, with the rules of booktabs."""

from __future__ import annotations

import re

from sparsekit.report.formats import Table

SPECIAL = {
    "\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_",
    "{": r"\{", "}": r"\}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}",
    "<": r"\textless{}", ">": r"\textgreater{}", "|": r"\textbar{}", '"': "''",
}  # fmt: skip
NUMBER = re.compile(r"[+-]?[\d,]*\.?\d+(e[+-]?\d+)?( \+- [\d.]+(e[+-]?\d+)?)?( of \d+)?")
POWER = re.compile(r"e([+-]?\d+)")


def latex(table: Table) -> str:
    r"""Write a table that needs the package booktabs; captions and notes go below it.

    Columns without any entry are left out: a page is narrow. Numbers stand to the right.

    >>> print(latex(Table(["a_b", "c"], [["x", "0.25 +- 0.10"], ["y", ""]], [], [], ["50 % off"])))
    \begin{tabular}{lr}
    \toprule
    a\_b & c \\
    \midrule
    x & $0.25 \pm 0.10$ \\
    y &  \\
    \bottomrule
    \end{tabular}
    <BLANKLINE>
    {\footnotesize
    50 \% off\par}
    """
    shown = [i for i in range(len(table.headers)) if any(line[i] for line in table.cells)]
    shown = shown if table.cells else list(range(len(table.headers)))
    sides = "".join("r" if _is_numeric(table, column) else "l" for column in shown)
    body = [
        " & ".join(_cell(line[column], (row, column) in table.bold) for column in shown)
        for row, line in enumerate(table.cells)
    ]
    lines = [
        rf"\begin{{tabular}}{{{sides}}}",
        r"\toprule",
        " & ".join(escaped(table.headers[column]) for column in shown) + r" \\",
        r"\midrule",
        *(rf"{line} \\" for line in body),
        r"\bottomrule",
        r"\end{tabular}",
    ]
    below = [rf"{escaped(line)}\par" for line in table.lines_below]
    return "\n".join([*lines, "", r"{\footnotesize", *below]) + "}" if below else "\n".join(lines)


def section(title: str, text: str) -> str:
    """Put a table below its title, if it has one."""
    return rf"\paragraph{{{escaped(title)}}}" + f"\n\n{text}" if title else text


def escaped(text: str) -> str:
    r"""Write a text so that LaTeX prints it as it is; `+-` becomes a sign of its own.

    >>> print(escaped("50 % of a_b #1"))
    50 \% of a\_b \#1
    """
    written = "".join(SPECIAL.get(character, character) for character in text)
    return written.replace("+-", r"$\pm$").replace("\n", " ")


def _cell(text: str, is_bold: bool) -> str:
    r"""Write a cell, a number in the font of formulas: its minus is a dash otherwise.

    >>> print(_cell("-1.50 +- 0.25", False), _cell("2.0e+05", False), _cell("RigL", True))
    $-1.50 \pm 0.25$ $2.0 \cdot 10^{5}$ \textbf{RigL}
    """
    if not NUMBER.fullmatch(text):
        return rf"\textbf{{{escaped(text)}}}" if is_bold else escaped(text)
    number, _, total = text.partition(" of ")
    number = number.replace(" +- ", r" \pm ").replace(",", "{,}")
    number = POWER.sub(lambda found: rf" \cdot 10^{{{int(found[1])}}}", number)
    number = rf"\mathbf{{{number}}}" if is_bold else number
    return f"${number}$" + (f" of {total}" if total else "")


def _is_numeric(table: Table, column: int) -> bool:
    texts = [line[column] for line in table.cells if line[column]]
    return bool(texts) and all(map(NUMBER.fullmatch, texts))
