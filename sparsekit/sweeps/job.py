"""What SLURM starts: one job of a submission.

    python -m sparsekit.sweeps.job FOLDER ID DIGEST

FOLDER is that of the sweep, ID that of the submission, DIGEST that of its entries (see entries.py).
"""

from __future__ import annotations

import functools
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from sparsekit.sweeps import member
from sparsekit.sweeps.entries import read_entry
from sparsekit.sweeps.records import Sweep
from sparsekit.sweeps.trust import refuse_changed
from sparsekit.system import interruption
from sparsekit.system.leaving import leave_after

REFUSED = 2


def main(arguments: Sequence[str]) -> int:
    """Do what this job was submitted for; 2 where that is not certain, or was changed by others."""
    interruption.listen()
    folder, submission, digest = Path(arguments[0]), arguments[1], arguments[2]
    index = int(os.environ.get("SLURM_ARRAY_TASK_ID", "0"))
    try:
        entry = dict(read_entry(folder / "jobs" / f"{submission}.json", index, digest))
        refuse_changed(Sweep(folder), entry.pop("code"))
    except (ValueError, OSError) as error:
        print(f"refused: {error}", file=sys.stderr, flush=True)
        return REFUSED
    ACTS[entry.pop("act")](folder, **entry)
    return 0


ACTS: Mapping[str, Callable[..., None]] = {
    "run": member.slurm_run,
    "fit": member.slurm_fit,
    "controller": member.slurm_controller,
    "watchdog": member.slurm_watchdog,
}


if __name__ == "__main__":
    leave_after(functools.partial(main, sys.argv[1:]))
