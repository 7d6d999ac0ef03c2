"""Printing what others wrote: a terminal does what some characters say."""

from __future__ import annotations

import sys
from typing import TextIO


def printable(text: str) -> str:
    """Return a text without what would command a terminal, or turn the order of its characters.

    >>> printable("a\\x1b[2Jb\\u202ec\\nd")
    'a?[2Jb?c\\nd'
    """
    return "".join(c if c.isprintable() or c in "\n\t" else "?" for c in text)


def say(text: str, *, file: TextIO | None = None) -> None:
    """Print a line, or several, for people: `printable`, and in what the stream can encode."""
    stream = sys.stdout if file is None else file
    encoding = stream.encoding or "utf-8"
    shown = printable(text).encode(encoding, errors="replace").decode(encoding)
    print(shown, file=stream, flush=True)
