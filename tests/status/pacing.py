"""A learning rate that files slow down, or make fail; the results of a run do not depend on it."""

from __future__ import annotations

import time
from pathlib import Path


def rate(step: int, steps: int, *, peak: float, folder: str) -> float:
    """`peak`; after the seconds that the file `pace` says, and unless there is a file `fail`,
    which ends it at a step that the rehearsal does not try."""
    pace = Path(folder) / "pace"
    if pace.exists():
        time.sleep(float(pace.read_text()))
    if step == 3 and (Path(folder) / "fail").exists():
        raise ValueError("this run was told to fail\nfor a test")
    return peak
