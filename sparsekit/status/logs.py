"""What the jobs of a run printed, and the error that ended it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from sparsekit.sweeps.damage import damage_of_run
from sparsekit.sweeps.records import Sweep, member_of
from sparsekit.system.files import Damaged, open_regular, refuse_links

MOST_BYTES = 2_000_000


def logs_page(sweep: Sweep, number: int, *, num_lines: int, fits: bool) -> str:
    """Show the end of a run's latest log, and of its fits', with all paths and the error."""
    members = [member_of(number), *(fits_of(sweep, number) if fits else ())]
    pages = [_page(sweep, member, num_lines) for member in members]
    return "\n\n".join([*pages, *(f"damaged: {text}" for text in damage_of_run(sweep, number))])


def fits_of(sweep: Sweep, number: int) -> list[str]:
    """List the members of a run's fits that are, or were, jobs of their own."""
    prefix = f"{member_of(number)}."
    return sorted(
        {
            member
            for note in sweep.noted_submissions()
            for member in note["members"]
            if member.startswith(prefix)
        }
    )


def log_files(sweep: Sweep, member: str) -> list[Path]:
    """List the files in which the jobs of a member print, the latest last, if they exist."""
    jobs = sweep.folder / "jobs"
    files = [jobs / f"{member}.log", *(jobs / f"{job}_0_log.out" for job in _jobs(sweep, member))]
    last = sweep.last_status(member).get("log")
    if last:
        # By its name alone: it lies among the others, also where the store was moved since.
        latest = jobs / Path(last).name
        files = [*(file for file in files if file != latest), latest]
    refuse_links(sweep.root, jobs)
    return [file for file in files if os.path.lexists(file)]


def tail(file: Path, num_lines: int) -> list[str]:
    """Return the last lines of a file; of a line that was overwritten, its last state."""
    with open_regular(file) as opened:
        opened.seek(max(0, os.fstat(opened.fileno()).st_size - MOST_BYTES))
        text = opened.read().decode(errors="replace")
    lines = [line.rstrip("\r").rpartition("\r")[2] for line in text.split("\n")]
    whole = lines[:-1] if lines[-1] == "" else lines
    return whole[max(0, len(whole) - num_lines) :]


def _page(sweep: Sweep, member: str, num_lines: int) -> str:
    files = log_files(sweep, member)
    status = sweep.last_status(member)
    lines = [f"--- {member}: {file}" for file in files]
    if files:
        lines += _told(files[-1], num_lines)
    else:
        lines.append(f"--- {member}: {_no_log(sweep, member)}")
    error = status.get("error")
    if error and error.rstrip() not in "\n".join(lines):
        lines += [f"--- {member}: error", error.rstrip()]
    return "\n".join(lines)


def _told(file: Path, num_lines: int) -> list[str]:
    try:
        return tail(file, num_lines)
    except (Damaged, OSError) as error:
        return [f"it cannot be read: {error}"]


def _no_log(sweep: Sweep, member: str) -> str:
    if sweep.last_status(member):
        return "no log; it printed where the sweep was started"
    return "no log; it has not begun"


def _jobs(sweep: Sweep, member: str) -> Iterator[str]:
    for note in sweep.noted_submissions():
        if note["job"] is not None and member in note["members"]:
            is_array = len(note["members"]) > 1
            index = f"_{note['members'].index(member)}" if is_array else ""
            yield f"{note['job']}{index}"
