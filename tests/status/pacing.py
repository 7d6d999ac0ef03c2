"""A learning rate that files hold up, or make fail; the results of a run do not depend on it."""

from __future__ import annotations

from pathlib import Path

from sparsekit.system import interruption
from tests.waiting import wait_until

STEP = 3


def rate(step: int, steps: int, *, peak: float, folder: str) -> float:
    """`peak`. STEP, which the rehearsal does not try, waits until there is no file `held`, or the
    process is asked to end, and fails if there is a file `fail`."""
    held = Path(folder) / "held"
    if step == STEP:
        wait_until(lambda: interruption.asked() or not held.exists(), "held for ever", every=0.01)
    if step == STEP and (Path(folder) / "fail").exists():
        raise ValueError("this run was told to fail\nfor a test")
    return peak
