"""A learning rate that takes its time and, in a job of SLURM, does harm where it is told to.

What it is told stands in the environment, which jobs inherit: the results of a run that is
disturbed and of one that is not have the same keys.
"""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

PACE, HARM = "TROUBLED_SECONDS_PER_STEP", "TROUBLED_HARM"
HARMS = ("raise", "exit", "die", "memory")
MEGABYTE = 2**20


def rate(step: int, steps: int, *, peak: float) -> float:
    """`peak`, whatever it takes.

    In a job of SLURM each step takes the seconds that PACE says, and if the file that HARM names
    is there, {"step": ..., "what": one of HARMS} happens; of an array, in the first member only;
    of several nodes, on the first or where "node" says.
    """
    if "SLURM_JOB_ID" in os.environ:
        time.sleep(float(os.environ.get(PACE, "0")))
        harm = Path(os.environ.get(HARM, ""))
        if harm.is_file():
            _do(json.loads(harm.read_text()), step)
    return peak


def _do(told: dict[str, object], step: int) -> None:
    if step != told["step"] or os.environ.get("SLURM_ARRAY_TASK_ID", "0") != "0":
        return
    if os.environ["SLURM_PROCID"] != str(told.get("node", 0)):
        return
    if told["what"] == "raise":
        raise ValueError("this run was told to fail")
    if told["what"] == "exit":
        raise SystemExit(3)
    if told["what"] == "die":
        os._exit(3)
    filled = []
    while True:
        filled.append(os.urandom(MEGABYTE) * 64)
        time.sleep(0.1)
