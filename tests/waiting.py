"""Waiting for a state, however busy the machine is, and giving up late."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from typing import TypeVar

PATIENCE = float(os.environ.get("TEST_PATIENCE", "1800"))
Value = TypeVar("Value")


def wait_until(
    condition: Callable[[], Value], what: str | Callable[[], str], *, every: float = 0.05
) -> Value:
    """The first true value of `condition`; AssertionError says `what` was waited for in vain.

    Nothing is said about how long it may take: PATIENCE only ends what hangs. `every` so many
    seconds it is looked.
    """
    deadline = time.monotonic() + PATIENCE
    while not (value := condition()):
        if time.monotonic() > deadline:
            told = what if isinstance(what, str) else what()
            raise AssertionError(f"waited {PATIENCE:g} s in vain: {told}")
        time.sleep(every)
    return value
