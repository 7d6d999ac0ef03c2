"""Printing what others wrote: a terminal does what some characters say."""

from __future__ import annotations

import sys


def printable(text: str) -> str:
    """Return a text without what would command a terminal, or turn the order of its characters.

    >>> printable("a\\x1b[2Jb\\u202ec\\nd")
    'a?[2Jb?c\\nd'
    """
    return "".join(c if c.isprintable() or c in "\n\t" else "?" for c in text)


def say(text: str) -> None:
    """Print what somebody asked to see."""
    print(printable(text), flush=True)


def remark(text: str) -> None:
    """Print to the error stream: what goes wrong, and what is going on."""
    print(printable(text), file=sys.stderr, flush=True)
