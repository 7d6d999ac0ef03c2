"""Imported by the interpreter that workers are forked from, before it forks the first.

If it is interrupted meanwhile, or must not fork, that interpreter ends; workers then start cold.
Nothing else may import it, not even to look for doctests: it ends who does.
"""

from __future__ import annotations

import atexit
import os

from sparsekit.system.importing import TRAINING, ThreadsRun, import_to_fork
from sparsekit.system.printing import remark


def _end(owner: int) -> None:
    """End the interpreter, but none of its forks, without taking apart what it has imported."""
    if os.getpid() == owner:
        os._exit(0)


atexit.register(_end, os.getpid())
try:
    import_to_fork(TRAINING)
except KeyboardInterrupt:
    os._exit(1)  # Ctrl-C at a terminal, which who asked for workers answers
except ThreadsRun as error:
    remark(f"workers import everything anew: {error}")
    os._exit(1)
