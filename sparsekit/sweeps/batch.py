"""Scripts for sbatch, and handing them over: options as arguments, the script as its input.

Arguments need no quoting and win over variables of the environment; what is read from the standard
input cannot change between the writing and the reading.
"""

from __future__ import annotations

import os
import re
import shlex
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from sparsekit.sweeps.scheduler import clean_environment

NUMBER = re.compile(r"(\d+)(;\S*)?")


class Refused(RuntimeError):
    """SLURM does not take a job; in its own words."""


def script(command: str, *, setup: Sequence[str], srun: Sequence[str], output: str) -> str:
    r"""Return the script of a job: shell lines, then srun with a shell `command`.

    >>> print(script("python -m x", setup=["module load cuda"], srun=["-c", "2"], output="a b/%j"))
    #!/bin/bash
    module load cuda
    srun --unbuffered '--output=a b/%j' -c 2 python -m x
    <BLANKLINE>
    """
    begin = shlex.join(["srun", "--unbuffered", f"--output={output}", *srun])
    return "\n".join(["#!/bin/bash", *setup, f"{begin} {command}", ""])


def log_pattern(folder: Path, *, is_array: bool, task: str = "0") -> str:
    """Return where jobs print, with the patterns that SLURM replaces.

    >>> log_pattern(Path("/store/50%/jobs"), is_array=True, task="%t")
    '/store/50%%/jobs/%A_%a_%t_log.out'
    """
    job = "%A_%a" if is_array else "%j"
    return str(folder).replace("%", "%%") + f"/{job}_{task}_log.out"


def sbatch(options: Mapping[str, Any]) -> list[str]:
    """Return the command that submits the script on its standard input.

    >>> sbatch({"job-name": "a b", "requeue": True, "no-kill": False})
    ['sbatch', '--parsable', '--job-name=a b', '--requeue']
    """
    chosen = {name: value for name, value in options.items() if value is not False}
    flags = [f"--{n}" if value is True else f"--{n}={value}" for n, value in chosen.items()]
    return ["sbatch", "--parsable", *flags]


def submit(options: Mapping[str, Any], text: str) -> str:
    """Submit a script; return the job's number. Raise Refused if SLURM gives none.

    Where sbatch fails the job may have been accepted all the same, such as when the answer comes
    too late.
    """
    done = subprocess.run(
        sbatch(options),
        input=os.fsencode(text),
        capture_output=True,
        check=False,
        env=clean_environment(),
    )
    # Sites have sbatch print more than a number.
    lines = [
        NUMBER.fullmatch(line.strip()) for line in done.stdout.decode(errors="replace").splitlines()
    ]
    numbers = [line[1] for line in lines if line is not None]
    if done.returncode or not numbers:
        raise Refused(f"SLURM refuses the jobs: {_reason(done)}")
    return numbers[-1]


def _reason(done: subprocess.CompletedProcess[bytes]) -> str:
    text = (done.stderr or done.stdout).decode(errors="replace")
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    errors = [line for line in lines if "sbatch: error:" in line]
    return " ".join(errors or lines[-1:]) or f"sbatch ends with status {done.returncode}"
