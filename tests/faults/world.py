"""Sweeps at work on a cluster, kept going by somebody who types commands as a person would."""

from __future__ import annotations

import contextlib
import dataclasses
import heapq
import itertools
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from sparsekit.sweeps.jobs import jobs_of
from sparsekit.sweeps.liveness import observe
from sparsekit.sweeps.records import Sweep
from tests.faults.drawing import Command
from tests.faults.victims import Victim, at_work
from tests.slurm.cluster import Cluster
from tests.slurm.troubled import PACE
from tests.warm import Forked

ROOT = Path(__file__).parents[2]
PLAIN = (
    "logger=none",
    "train.schedule={_target_:tests.slurm.troubled.rate,peak:0.01}",
    "runtime.threads=1",
    "runtime.checkpoint_seconds=1",
    "runtime.progress=none",
)
# As slurm/cluster/preemptible.yaml advises, and the watchdog looks more often.
ON_SLURM = (
    "cluster=slurm",
    "cluster.rounds=20",
    "cluster.controller={partition:debug}",
    "cluster.patrol_minutes=1",
    "resources.minutes=60",
)
SECONDS_PER_STEP = 0.3
MAX_RETRIES = 8
LOOK_SECONDS = 10.0


@dataclasses.dataclass
class Asked:
    """A sweep that somebody wants: the command until it has submitted, then what it became.

    `retries`: what was missing, and why, whenever nothing but a person could help any more.
    """

    number: int
    command: Command
    process: subprocess.Popen[Any] | None = None
    begun: float = 0.0
    sweep: Sweep | None = None
    retries: list[list[str]] = dataclasses.field(default_factory=list)
    is_over: bool = False


@dataclasses.dataclass
class World:
    """A cluster, one store, `num_sweeps` sweeps at a time, and what is out of order right now.

    `more`: what sweeps are asked for besides, which changes no result.
    """

    folder: Path
    cluster: Cluster
    commands: Iterator[Command]
    num_sweeps: int
    more: tuple[str, ...] = ()
    asked: list[Asked] = dataclasses.field(default_factory=list)
    takes_more: bool = True
    answers: bool = True
    nodes_down: set[str] = dataclasses.field(default_factory=set)
    submitting_seconds: float = 3.0
    _healing: list[tuple[float, int, Callable[[], None], bool]] = dataclasses.field(
        default_factory=list
    )
    _others: list[subprocess.Popen[Any]] = dataclasses.field(default_factory=list)
    _count: Iterator[int] = dataclasses.field(default_factory=itertools.count)
    _look_at: float = 0.0

    @property
    def store(self) -> Path:
        return self.folder / "store"

    def now(self) -> float:
        """Return seconds of a clock that only goes forward."""
        return time.monotonic()

    def rest(self, seconds: float) -> None:
        """Let time pass, and do what a person would do meanwhile."""
        until = self.now() + seconds
        while True:
            self.keep_going()
            left = until - self.now()
            if left <= 0:
                return
            time.sleep(min(0.5, left))

    def keep_going(self) -> None:
        """Mend what is due, type again what did not submit, and ask for more sweeps."""
        self._heal(until=self.now())
        for one in self.asked:
            self._learn_name(one)
        if self.now() >= self._look_at and self.answers:
            self._resume_nodes()
            for one in self.asked:
                self._look_after(one)
            self._look_at = self.now() + LOOK_SECONDS
        self._others = [process for process in self._others if process.poll() is None]
        while self.takes_more and sum(not one.is_over for one in self.asked) < self.num_sweeps:
            self.ask()

    def ask(self) -> Asked:
        """Type the command of a new sweep."""
        one = Asked(len(self.asked), next(self.commands))
        self.asked.append(one)
        self.submit(one)
        return one

    def submit(self, one: Asked) -> None:
        """Type the command of a sweep, for the first time or again."""
        where = (f"cluster.partition={one.command.partition}", f"executor={one.command.executor}")
        one.process = self._start(
            one, "sparsekit.run", *self.arguments(one, self.store), *ON_SLURM, *where, *self.more
        )
        one.begun = self.now()

    def submit_beside(self, one: Asked) -> None:
        """Type the command of a sweep while another process may be at it."""
        before, begun = one.process, one.begun
        self.submit(one)
        assert one.process is not None
        self._others.append(one.process)
        one.process, one.begun = before, begun

    def arguments(self, one: Asked, store: Path) -> list[str]:
        """Return the arguments that make the results of a sweep, in a store."""
        return ["-m", *PLAIN, *one.command.overrides, f"runtime.store={store}"]

    def status(self, one: Asked | None, *words: str) -> str:
        """Run `python -m sparsekit.status` to its end; return what was printed."""
        process = self._status(one, *words)
        process.wait()
        return self.log(one).read_text()

    def status_beside(self, one: Asked, *words: str) -> None:
        """Begin `python -m sparsekit.status`, and leave it to itself."""
        self._others.append(self._status(one, *words))

    def at_work(self) -> list[tuple[Asked, Victim]]:
        """Return everything that a job is at work on now."""
        return [
            (one, victim)
            for one in self.asked
            if one.sweep is not None and not one.is_over
            for victim in at_work(one.sweep)
        ]

    def heal(self, action: Callable[[], None], *, after: float, needs_slurm: bool = True) -> None:
        """Do something in so many seconds, or when slurmctld answers again, if that is needed."""
        entry = (self.now() + after, next(self._count), action, needs_slurm)
        heapq.heappush(self._healing, entry)

    def heal_everything(self) -> None:
        """Mend whatever is out of order, now; and ask for no more sweeps."""
        self.takes_more = False
        while self._healing:
            self._heal(until=float("inf"))

    def log(self, one: Asked | None) -> Path:
        """Return the file of what the commands of a sweep printed."""
        return self.folder / "commands" / f"{'store' if one is None else one.number}.log"

    def _heal(self, *, until: float) -> None:
        due = [entry for entry in self._healing if entry[0] <= until]
        for entry in sorted(due):
            if self.answers or not entry[3]:
                self._healing.remove(entry)
                entry[2]()

    def _learn_name(self, one: Asked) -> None:
        """Learn the name of a sweep from its command; type it again where it did not say one."""
        if one.sweep is not None or (one.process and one.process.poll() is None):
            return
        found = re.findall(r"^sweep (\S+): ", self.log(one).read_text(), re.MULTILINE)
        if found:
            one.sweep = Sweep(self.store / "sweeps" / found[-1])
            self.submitting_seconds = self.now() - one.begun
        elif self.answers:
            self.submit(one)

    def _resume_nodes(self) -> None:
        """Give back nodes that SLURM has set aside, such as those where a job was slow to die."""
        listing = ("sinfo", "--noheader", "--Node", "--states=drained", "--format=%N")
        with contextlib.suppress(RuntimeError):
            for node in set(self.cluster.run(*listing).split()):
                self.cluster.run("scontrol", "update", f"nodename={node}", "state=resume")

    def _look_after(self, one: Asked) -> None:
        """Retry by hand what is missing when nothing of the sweep is in the queue any more."""
        if one.is_over or one.sweep is None or self._others:
            return
        try:
            seen = observe(one.sweep, stale_after=one.sweep.stale_after)
        except ValueError as error:
            one.retries.append([f"unreadable: {error}"])
            one.is_over = len(one.retries) >= MAX_RETRIES
            return
        missing = [f"{each.state}: {each.reason}" for each in seen if each.is_missing]
        if all(each.state == "done" for each in seen) or len(one.retries) >= MAX_RETRIES:
            one.is_over = True
        elif missing and not any(each.is_live for each in seen) and not jobs_of(one.sweep):
            one.retries.append(missing)
            self.status_beside(one, "retry", one.sweep.name)

    def _status(self, one: Asked | None, *words: str) -> subprocess.Popen[Any]:
        return self._start(one, "sparsekit.status", *words, "--store", str(self.store))

    def _start(self, one: Asked | None, module: str, *arguments: str) -> subprocess.Popen[Any]:
        log = self.log(one)
        log.parent.mkdir(parents=True, exist_ok=True)
        told = {PACE: str(SECONDS_PER_STEP), "PYTHONPATH": str(ROOT)}
        with log.open("a") as file:
            print(
                f"--- {time.strftime('%X')} {module} {' '.join(arguments)}", file=file, flush=True
            )
            return Forked(
                [sys.executable, "-m", module, *arguments],
                cwd=ROOT, env={**os.environ, **told}, stdout=file, stderr=file,
            )  # fmt: skip
