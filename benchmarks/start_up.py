"""How long the command takes to say anything: `python -m benchmarks.start_up`.

Whole processes, from start to exit, with those that they begin, interleaved. They are compared with
one that only imports PyTorch; one that imports Lightning, as what trains must, stands beside it.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from benchmarks import timing
from sparsekit.system.warm import adopting

FLOOR, HELP = "import torch", "--help"
TRAINS = "import torch, lightning.pytorch"
RUN = ("-m", "sparsekit.run")
TINY = (
    "model=mlp",
    "data=digits",
    "method=one_shot",
    "train.epochs=0.5",
    "logger=none",
    "runtime.accelerator=cpu",
    "runtime.progress=none",
)
METHODS = ("method=one_shot,random", "seed=0,1,2")
SOUP = ("method=soup", "method.cycles=2", "method.num_particles=4", "executor=workers")
FITS = (*TINY[:2], *SOUP, *TINY[3:])
SWEEP = ("-m", *TINY[:2], *METHODS, *TINY[3:], "cluster=local", "cluster.processes=2")


@dataclasses.dataclass(frozen=True)
class Command:
    """Arguments of Python, the exit status they lead to, and how many times as long as importing
    PyTorch it may take. `into`: it writes into a new store each time."""

    arguments: tuple[str, ...]
    status: int = 0
    at_most: float | None = None
    into: bool = False


def commands(store: Path) -> dict[str, Command]:
    """The processes to time; the tiny run's results lie in `store`."""
    tiny = (*RUN, *TINY, f"runtime.store={store}")
    return {
        FLOOR: Command(("-c", FLOOR)),
        TRAINS: Command(("-c", TRAINS)),
        HELP: Command((*RUN, "--help"), at_most=1.0),
        "+experiment=quikstart": Command((*RUN, "+experiment=quikstart"), status=2, at_most=1.0),
        "train.epoch=3": Command((*RUN, "train.epoch=3"), status=2, at_most=1.0),
        "+experiment=quickstart --dry-run": Command((*RUN, "+experiment=quickstart", "--dry-run")),
        "a tiny run that is in the store": Command(tiny, at_most=1.5),
        "a tiny run": Command((*RUN, *TINY), into=True),
        "six tiny runs, cluster=local": Command((*RUN, *SWEEP), into=True),
        "eight tiny fits, executor=workers": Command((*RUN, *FITS), into=True),
        "report of the tiny run": Command(("-m", "sparsekit.report", str(store)), at_most=1.0),
        "status of the store": Command(
            ("-m", "sparsekit.status", "--store", str(store)), at_most=1.0
        ),
    }


def execute(command: Command, folder: Path, threads: int) -> None:
    """Run a process to its end, and to that of what it leaves behind, which ends with it.

    RuntimeError unless it exits as expected.
    """
    paths = [str(timing.ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
    surroundings = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(paths),
        "OMP_NUM_THREADS": str(threads),
    }
    store = [f"runtime.store={tempfile.mkdtemp(dir=folder)}"] if command.into else []
    with adopting():
        before = _children()  # of a process that has others, such as one that runs tests
        done = subprocess.run(
            [sys.executable, *command.arguments, *store],
            cwd=folder,
            env=surroundings,
            capture_output=True,
            text=True,
            check=False,
        )
        while left := _children() - before:
            for pid in left:
                with contextlib.suppress(ChildProcessError):
                    os.waitpid(pid, 0)
    if done.returncode != command.status:
        raise RuntimeError(f"{command.arguments} exited {done.returncode}: {done.stderr}")


def _children() -> set[int]:
    """Return the processes whose parent is this one."""
    found = set()
    for place in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):  # it has ended meanwhile
            parent = place.read_text().rpartition(")")[2].split()[1]
            found |= {int(place.parent.name)} if int(parent) == os.getpid() else set()
    return found


def verdicts(times: timing.Times, processes: dict[str, Command]) -> str:
    """One line per process with a target."""
    return "\n".join(
        timing.at_most(
            f"`{name}` over `{FLOOR}`", timing.paired(times, name, FLOOR), command.at_most
        )
        for name, command in processes.items()
        if command.at_most is not None
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure every process; the first turn, which is not counted, fills store and caches."""
    options = timing.read_options(
        __doc__ or "", arguments, rounds=9, clocks=("processes' CPU", "wall")
    )
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        processes = commands(folder / "runs")
        if options.quick:
            processes = {name: processes[name] for name in (FLOOR, HELP)}
        ways: dict[str, Callable[[], float]] = {
            name: timing.timed(partial(execute, command, folder, options.threads), options.clock)
            for name, command in processes.items()
        }
        times = timing.interleave(ways, rounds=options.rounds, warm_up=0 if options.quick else 1)
    table = timing.markdown(timing.HEAD, timing.rows(times, base=FLOOR))
    introduction = f"Time of whole processes; ratios to `{FLOOR}`."
    parts = [introduction, table, verdicts(times, processes)]
    timing.report("Start-up", parts, options)
    return 0


if __name__ == "__main__":
    sys.exit(main())
