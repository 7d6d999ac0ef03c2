"""What the jobs of a submission are to do: plain data, which a job reads only as it was submitted.

STORE/sweeps/NAME/jobs/ID.json holds one entry for each job of the array. Nothing in it is code, and
nothing is pickled. Only its user may read it, because a fit may need a password. The digest of the
file is an argument in the job's script, which SLURM keeps: whoever may write to the store later
cannot make a waiting job do something else by that file.
"""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from sparsekit.system.files import MOST_BYTES, parsed, read_bytes, spelled, write_json

SECONDS_UNTIL_SEEN, POLL_SECONDS = 60.0, 0.5
Entry = Mapping[str, Any]


def write_entries(file: Path, entries: Sequence[Entry]) -> str:
    """Write the entries of a submission; return the digest under which its jobs may read them."""
    file.parent.mkdir(parents=True, exist_ok=True)
    write_json(file, list(entries), private=True)
    return hashlib.sha256(spelled(list(entries)).encode()).hexdigest()


def read_entry(file: Path, index: int, digest: str) -> Entry:
    """Return the entry of one job of a submission; ValueError unless it is what was submitted.

    A file that is not there yet is waited for: a shared file system may show it late.
    """
    deadline = time.monotonic() + SECONDS_UNTIL_SEEN
    while not os.path.lexists(file) and time.monotonic() < deadline:
        time.sleep(POLL_SECONDS)
    try:
        content = read_bytes(file, most=MOST_BYTES)
    except OSError as error:
        raise ValueError(f"{file} cannot be read: {error.strerror}") from error
    if hashlib.sha256(content).hexdigest() != digest:
        raise ValueError(f"{file} is not what was submitted: its SHA-256 is another one")
    entry: Entry = parsed(content)[index]
    return entry


def run_entry(number: int) -> Entry:
    """Return what a job does that runs one run."""
    return {"act": "run", "number": number}


def fit_entry(member: str, item: Mapping[str, Any]) -> Entry:
    """Return what a job does that computes one fit of a run, given its described spec."""
    return {"act": "fit", "member": member, "item": item}


def controller_entry(patience: int) -> Entry:
    """Return what the small job does that looks after the others."""
    return {"act": "controller", "patience": patience}


def watchdog_entry() -> Entry:
    """Return what the small job does that looks now and then for what was lost."""
    return {"act": "watchdog"}
