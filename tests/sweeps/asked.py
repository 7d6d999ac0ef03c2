"""What sweeps are asked for, where a test cares about a part of it."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from sparsekit.sweeps.records import Sweep

RUN = {"experiment": "custom", "differs": {}, "choices": {"method": "dense"}, "overrides": []}
CONFIG = {"method": {}, "runtime": {}}


def asked_for(*runs: Mapping[str, Any], **more: Any) -> dict[str, Any]:
    """The content of a sweep of these runs, or of one, with what else belongs to it."""
    whole = [
        {**RUN, "number": number, "name": f"dense-seed{number}", **run,
         "config": {**CONFIG, **run.get("config", {})}}
        for number, run in enumerate(runs or ({},))
    ]  # fmt: skip
    about = {"created": 1.0, "command": "", "user": "me", "cluster": {"_target_": "a.b"}}
    return {**about, "runs": whole, **more}


def note_of_long_ago(sweep: Sweep, note: Mapping[str, Any], **more: Any) -> dict[str, Any]:
    """Write a submission down again, as if that had been long ago: nothing is waited for then."""
    changed = sweep._note({**note, **more})
    os.utime(sweep.note_file(note), (1.0, 1.0))
    return changed
