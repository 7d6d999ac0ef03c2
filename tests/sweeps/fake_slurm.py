"""A SLURM of files: what is submitted waits for ever, and tests decide what goes wrong.

The program below plays sbatch, squeue, scancel, sacct and scontrol, by the name it is called by.
"""

from __future__ import annotations

import dataclasses
import json
import sys
from pathlib import Path
from typing import Any

COMMANDS = ("sbatch", "squeue", "scancel", "sacct", "scontrol")
PROGRAM = """#!{python} -ES
import json, os, pathlib, re, sys

command, given = pathlib.Path(sys.argv[0]).name, sys.argv[1:]
folder = pathlib.Path(sys.argv[0]).parent
wishes = json.loads((folder / "wishes.json").read_text())
jobs = json.loads((folder / "jobs.json").read_text())


def ends(status, error=""):
    (folder / "jobs.json").write_text(json.dumps(jobs))
    print(error, file=sys.stderr)
    sys.exit(status)


if wishes.get(command + "_fails", 0):
    wishes[command + "_fails"] -= 1
    (folder / "wishes.json").write_text(json.dumps(wishes))
    ends(1, command + ": error: Unable to contact slurm controller (connect failure)")
if command == "sbatch":
    typed, script = " ".join(given), sys.stdin.read()
    last = re.search(r"--array=0-(\\d+)", typed)
    if re.search(wishes.get("refused", "^$"), typed):
        ends(1, "sbatch: error: AssocMaxSubmitJobLimit")
    number = max([1000, *map(int, jobs)]) + 1
    jobs[number] = {{
        "name": re.search(r"--job-name=(\\S+)", typed)[1], "typed": typed,
        "uid": os.getuid(), "folder": os.getcwd(),
        "size": int(last[1]) + 1 if last else None,
    }}
    print(number)
    if re.search(wishes.get("lied_about", "^$"), typed):
        ends(1, "sbatch: error: Socket timed out on send/recv operation")
elif command == "squeue":
    for number, job in jobs.items():
        indices = [""] if job["size"] is None else [f"_{{n}}" for n in range(job["size"])]
        for index in () if job.get("gone") else indices:
            told = f"{{job['uid']}}|{{job['name']}}|{{job['folder']}}"
            print(f"{{number}}{{index}}|PENDING|Priority||{{told}}")
elif command == "scancel":
    if wishes.get("clings"):
        ends(0)
    for number in given:
        if number.partition("_")[0] in jobs:
            jobs[number.partition("_")[0]]["gone"] = True
elif command == "sacct":
    for number, job in jobs.items():
        indices = [""] if job["size"] is None else [f"_{{n}}" for n in range(job["size"])]
        for index in indices if job.get("gone") else ():
            ended = wishes.get("ended", "FAILED")
            print(f"{{number}}{{index}}|{{ended}}|1:0|{{job['name']}}")
elif command == "scontrol":
    print(f"MaxArraySize            = {{wishes.get('max_array_size', 1001)}}")
    print("AccountingStorageType   = accounting_storage/slurmdbd")
ends(0)
"""


@dataclasses.dataclass(frozen=True)
class FakeSlurm:
    """What is in its queue, and what it shall do wrong."""

    folder: Path

    def install(self) -> None:
        """Put the commands into the folder, which belongs at the beginning of PATH."""
        self.folder.mkdir()
        for command in COMMANDS:
            (self.folder / command).write_text(PROGRAM.format(python=sys.executable))
            (self.folder / command).chmod(0o755)
        (self.folder / "jobs.json").write_text("{}")
        self.wish()

    def wish(self, **wishes: Any) -> None:
        """`refused`, `lied_about`: patterns of what sbatch is given; `COMMAND_fails`: how often;
        `clings`: scancel does nothing; `ended`, `max_array_size`: what is told."""
        (self.folder / "wishes.json").write_text(json.dumps(wishes))

    def submitted(self) -> dict[str, dict[str, Any]]:
        """Every job there ever was, by number."""
        jobs: dict[str, dict[str, Any]] = json.loads((self.folder / "jobs.json").read_text())
        return jobs

    def queue(self) -> list[str]:
        """Numbers of the jobs that wait."""
        return [number for number, job in self.submitted().items() if not job.get("gone")]

    def end(self) -> None:
        """Let all that waits end at once, without a word."""
        ended = {number: {**job, "gone": True} for number, job in self.submitted().items()}
        (self.folder / "jobs.json").write_text(json.dumps(ended))
