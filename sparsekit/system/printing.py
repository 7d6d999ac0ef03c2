"""Printing what others wrote: a terminal does what some characters say."""

from __future__ import annotations

import sys
import traceback
from collections.abc import Sequence
from types import TracebackType

from sparsekit.system.secrets import masked_here

MOST_DAMAGED = 20


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


def mask_tracebacks() -> None:
    """Print errors that nobody expected, from now on, without the keys that stand in them."""
    sys.excepthook = _masked_traceback


def _masked_traceback(
    kind: type[BaseException], error: BaseException, trace: TracebackType | None
) -> None:
    remark(masked_here("".join(traceback.format_exception(kind, error, trace)).rstrip()))


def damage_lines(damaged: Sequence[str]) -> list[str]:
    """Name damaged files, one line each, as far as anybody reads on."""
    more = len(damaged) - MOST_DAMAGED
    lines = [f"damaged: {text}" for text in damaged[:MOST_DAMAGED]]
    return [*lines, f"... and {more} more damaged files"] if more > 0 else lines
