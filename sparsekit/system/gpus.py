"""Which GPUs this process may use, without importing PyTorch or waking a GPU."""

from __future__ import annotations

import functools
import os
import subprocess
from pathlib import Path

VARIABLE = "CUDA_VISIBLE_DEVICES"
DRIVER = Path("/proc/driver/nvidia/gpus")
PATIENCE = 30.0


def visible_gpus() -> tuple[str, ...]:
    """Return values of CUDA_VISIBLE_DEVICES for one GPU each: numbers, or UUIDs if it has those.

    As CUDA reads the variable, its list ends at the first entry that is not a GPU, such as an empty
    one, -1, or SLURM's NoDevFiles. Without the variable the driver is asked, once per process.
    """
    listed = os.environ.get(VARIABLE)
    if listed is None:
        return _of_the_driver()
    found: list[str] = []
    for entry in (text.strip() for text in listed.split(",")):
        if not entry.isdigit() and not entry.startswith(("GPU-", "MIG-")):
            break
        found.append(entry)
    return tuple(found)


@functools.cache
def _of_the_driver() -> tuple[str, ...]:
    return tuple(str(number) for number in range(_num_gpus()))


def _num_gpus() -> int:
    try:
        # It lists what this container may use; the folder lists what the machine has.
        asked = subprocess.run(
            ("nvidia-smi", "-L"), capture_output=True, text=True, timeout=PATIENCE
        )
        return sum(line.startswith("GPU ") for line in asked.stdout.splitlines())
    except (OSError, subprocess.TimeoutExpired):
        return len(list(DRIVER.iterdir())) if DRIVER.is_dir() else 0
