"""What all benchmarks share: interleaved rounds, paired ratios, tables, and where they were made.

A time alone says little on a machine that others use too. So all ways of doing a thing run in one
process, one after the other, round by round (A B C A B C ...), and what is quoted is the ratio of
two times of the same round: its median, its middle half and its range.

Where one process does all the work, `--clock cpu` counts its CPU time instead of wall time: what
others on the machine preempt is then left out, what waits for a disk too.
"""

from __future__ import annotations

import argparse
import dataclasses
import datetime
import os
import platform
import statistics
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch

from sparsekit.measuring.tables import markdown as markdown
from sparsekit.measuring.tables import shown as shown
from sparsekit.measuring.timing import Clock, Spread
from sparsekit.measuring.timing import interleave as interleave
from sparsekit.measuring.timing import spread as spread
from sparsekit.measuring.timing import timed as timed

ROOT = Path(__file__).parent.parent
HEAD = ("way", "median", "ratio", "middle half", "range")
Times = Mapping[str, Sequence[float]]
CLOCKS: Mapping[str, Clock] = {
    "wall": time.perf_counter,
    "cpu": time.process_time,
    "thread's CPU": time.thread_time,
    "processes' CPU": lambda: sum(os.times()[:4]),
}
"""The last one with the processes that were begun here and have ended."""


@dataclasses.dataclass(frozen=True)
class Options:
    """What every benchmark is told; `quick` asks for the smallest run that uses every line.

    `commit` is read at the start: the code that was imported, whatever is committed meanwhile.
    `parts`: those of a benchmark in several.
    """

    rounds: int
    threads: int
    quick: bool
    out: Path | None
    clock_name: str
    commit: str
    parts: tuple[str, ...] = ()

    @property
    def clock(self) -> Clock:
        """Seconds since some moment: of wall time, or of this process's CPU time."""
        return CLOCKS[self.clock_name]


def read_options(
    description: str,
    arguments: Sequence[str] | None,
    *,
    rounds: int,
    clocks: Sequence[str] = ("wall",),
    parts: Sequence[str] = (),
) -> Options:
    """The options on the command line; sets the number of threads.

    `rounds` is the default, `clocks` are those that make sense, the default first; of `parts` all
    run unless some are named.
    """
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--rounds", type=int, help=f"default {rounds}; 2 with --quick")
    parser.add_argument("--threads", type=int, default=1, help="CPU threads of PyTorch, default 1")
    parser.add_argument("--quick", action="store_true", help="seconds; the numbers mean nothing")
    parser.add_argument("--out", type=Path, help="append the report to this file")
    parser.add_argument("--clock", choices=clocks, default=clocks[0], help="what is measured")
    if parts:
        parser.add_argument("--parts", nargs="+", choices=parts, default=parts, help="default all")
    given = parser.parse_args(arguments)
    torch.set_num_threads(given.threads)
    chosen = given.rounds or (2 if given.quick else rounds)
    named = tuple(given.parts) if parts else ()
    return Options(chosen, given.threads, given.quick, given.out, given.clock, commit(), named)


def paired(times: Times, way: str, base: str) -> Spread:
    """Spread of `way` / `base`, each ratio taken within one round."""
    return spread([a / b for a, b in zip(times[way], times[base], strict=True)])


def rows(times: Times, *, base: str) -> list[list[str]]:
    """One row per way, under `HEAD`: its median time, and its ratio to `base`."""
    table = []
    for way in times:
        ratio = paired(times, way, base)
        half = f"{ratio.lower:.3f} .. {ratio.upper:.3f}"
        whole = f"{ratio.lowest:.3f} .. {ratio.highest:.3f}"
        median = shown(statistics.median(times[way]))
        table.append([way, median, f"{ratio.median:.3f}", half, whole])
    return table


def at_most(what: str, value: Spread, target: float) -> str:
    """One line: is the median at most `target`, and in how much of the spread?"""
    return _verdict(what, value, f"at most {target:g}", value.median <= target)


def at_least(what: str, value: Spread, target: float) -> str:
    """One line: is the median at least `target`?"""
    return _verdict(what, value, f"at least {target:g}", value.median >= target)


def _verdict(what: str, value: Spread, target: str, reached: bool) -> str:
    measured = f"{value.median:.4g} ({value.lowest:.4g} .. {value.highest:.4g})"
    return f"- {what}: {measured}, target {target}: **{'reached' if reached else 'MISSED'}**"


def report(title: str, parts: Sequence[str], options: Options) -> None:
    """Print a section with its provenance; append it to `options.out`."""
    text = "\n\n".join([f"## {title}", provenance(options), *parts])
    print(text)
    if options.out is not None:
        with options.out.open("a") as file:
            file.write(f"\n{text}\n")


def provenance(options: Options) -> str:
    """Date, hardware, versions and commit, in one paragraph."""
    facts = [
        f"{datetime.date.today()}",
        f"{processor()}, {os.cpu_count()} cores (load {os.getloadavg()[0]:.1f} at the end)",
        f"{options.threads} thread{'s' * (options.threads != 1)}, {options.rounds} rounds, "
        f"{options.clock_name} time",
        f"Python {platform.python_version()}, torch {torch.__version__}",
        f"commit {options.commit}",
    ]
    quick = " QUICK: these numbers mean nothing." if options.quick else ""
    return "; ".join(facts) + "." + quick


def processor() -> str:
    """The CPU's model name."""
    information = Path("/proc/cpuinfo")
    if information.exists():
        for line in information.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def commit() -> str:
    """The commit that was measured, and whether anything measured had been changed since."""
    found = _git("rev-parse", "HEAD")
    changed = _git("status", "--porcelain", "--", "sparsekit", "configs", "benchmarks")
    return (found or "unknown") + (" with uncommitted changes" if changed else "")


def _git(*arguments: str) -> str:
    done = subprocess.run(
        ["git", "-C", str(ROOT), *arguments], capture_output=True, text=True, check=False
    )
    return done.stdout.strip()
