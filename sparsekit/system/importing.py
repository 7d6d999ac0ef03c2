"""Imports of large packages."""

from __future__ import annotations

import contextlib
import gc
from collections.abc import Iterator


@contextlib.contextmanager
def uncollected() -> Iterator[None]:
    """Import PyTorch and Lightning without collecting garbage meanwhile.

    Importing makes half a million objects that stay. Python's collector looks at them again and
    again, for a sixth of the time that the imports take.
    """
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()
