"""Times and tables as they are read, in a terminal or as Markdown."""

from __future__ import annotations

from collections.abc import Sequence


def shown(seconds: float) -> str:
    """Write a time with three digits and a fitting unit.

    >>> shown(0.00234)
    '2.34 ms'
    >>> shown(1234.5)
    '1234 s'
    """
    for unit, size in (("s", 1.0), ("ms", 1e-3), ("us", 1e-6)):
        if seconds >= size:
            return f"{significant(seconds / size)} {unit}"
    return f"{significant(seconds / 1e-9)} ns"


def significant(number: float) -> str:
    """Write a positive number with three digits, or all that stand before its point.

    >>> significant(0.01234), significant(9.999), significant(12345.6)
    ('0.0123', '10', '12346')
    """
    return f"{number:.0f}" if number >= 999.5 else f"{number:.3g}"


def markdown(head: Sequence[str], body: Sequence[Sequence[str]]) -> str:
    """Return a Markdown table, its columns aligned.

    >>> print(markdown(["a", "way"], [["1", "x"]]))
    | a | way |
    |---|-----|
    | 1 | x   |
    """
    widths = [max(len(row[i]) for row in (head, *body)) for i in range(len(head))]
    lines = [
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) + " |"
        for row in (head, *body)
    ]
    rule = "|" + "|".join("-" * (width + 2) for width in widths) + "|"
    return "\n".join([lines[0], rule, *lines[1:]])


def plain(head: Sequence[str], body: Sequence[Sequence[str]]) -> str:
    """Return a table for a terminal, its columns aligned, two spaces between them.

    >>> print(plain(["a", "way"], [["1", "x"]]))
    a  way
    1  x
    """
    widths = [max(len(row[i]) for row in (head, *body)) for i in range(len(head))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in (head, *body)
    )
