"""Sweeps as a user asks for them, and what to compare them with."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from sparsekit.configuration.sweep_files import key_of
from sparsekit.report.compare import differences
from sparsekit.store.store import Store
from sparsekit.sweeps.jobs import jobs_of
from sparsekit.sweeps.liveness import Observation, observe
from sparsekit.sweeps.records import Sweep, list_sweeps
from tests.slurm import warm_jobs
from tests.slurm.troubled import HARM, PACE
from tests.waiting import PATIENCE, wait_until
from tests.warm import Forked

ROOT = Path(__file__).parents[2]
LOG = "SPARSEKIT_FAULT_LOG"
TINY = (
    "model=mlp",
    "data=digits",
    "train.epochs=3",
    "train.schedule={_target_:tests.slurm.troubled.rate,peak:0.1}",
    "method.cycles=1",
    "logger=none",
    "runtime.threads=1",
    "runtime.checkpoint_seconds=1",
    "runtime.progress=none",
)
SEVERAL = ("method=imp,swamp,random", "seed=0")
TWO = ("method=imp,random", "seed=0")


@dataclasses.dataclass(frozen=True)
class Asked:
    """The same runs in two stores: one that suffers, one that is left alone.

    `pace`: seconds per training step in jobs, so that there is time to disturb them.
    `alike`: what those that are left alone are asked besides, to be trained in the same way.
    `cold`: jobs start Python anew instead of being forked where everything is imported.
    """

    folder: Path
    runs: tuple[str, ...] = TWO
    pace: float = 0.2
    path: str = os.environ["PATH"]
    alike: tuple[str, ...] = ()
    cold: bool = False

    @property
    def store(self) -> Path:
        return self.folder / "disturbed"

    @property
    def harm(self) -> Path:
        return self.folder / "harm.json"

    @property
    def sweep(self) -> Sweep:
        (sweep,) = list_sweeps(self.store)
        return sweep

    def start(self, *more: str) -> subprocess.Popen[str]:
        """The command that submits the sweep, begun."""
        limit = [] if any("resources.minutes" in one for one in more) else ["resources.minutes=60"]
        python = [] if self.cold else [f"cluster.python='{warm_jobs.python()}'"]
        return Forked(
            self._command(self.store, "cluster=slurm", *python, *limit, *more),
            cwd=ROOT,
            env=self._environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def submit(self, *more: str) -> Sweep:
        """The sweep, submitted to SLURM."""
        process = self.start(*more)
        printed, _ = process.communicate(timeout=PATIENCE)
        assert process.returncode == 0, printed
        return self.sweep

    def status(self, *arguments: str) -> str:
        """What `python -m sparsekit.status` prints."""
        action = [sys.executable, "-m", "sparsekit.status", *arguments]
        return self._run([*action, "--store", str(self.store)])

    def conclude(self, fault: str, *, injected: int) -> None:
        """Every run is done, and what it left is what an undisturbed inline run leaves.

        Where the environment names a log, a line in it says so.
        """
        seen = observe(self.sweep)
        lost = [one.number for one in seen if one.state != "done"]
        differing = differences(Store(self._undisturbed()), Store(self.store))
        log = os.environ.get(LOG)
        if log:
            counts = {"runs": len(seen), "lost": len(lost), "differing": len(differing)}
            with Path(log).open("a") as file:
                file.write(json.dumps({"fault": fault, "injected": injected, **counts}) + "\n")
        assert (lost, differing) == ([], [])

    def _undisturbed(self) -> Path:
        """A store with the same runs that nobody disturbed; made once, for all tests that ask."""
        name = hashlib.sha256(" ".join([*self.runs, *self.alike]).encode()).hexdigest()[:8]
        workers_have_folders = "PYTEST_XDIST_WORKER" in os.environ
        session = self.folder.parent.parent if workers_have_folders else self.folder.parent
        store = session / f"undisturbed-{name}"
        if not (store / "whole").exists():
            self._run(self._command(store, "cluster=inline", *self.alike))
            assert list(Store(store).keys("ticket"))
            (store / "whole").touch()
        return store

    def _command(self, store: Path, *more: str) -> list[str]:
        asked = {key_of(text) for text in (*self.runs, *more)}
        tiny = [text for text in TINY if key_of(text) not in asked]
        typed = ["-m", *tiny, *self.runs, f"runtime.store={store}", *more]
        return [sys.executable, "-m", "sparsekit.run", *typed]

    def _run(self, command: Sequence[str]) -> str:
        process = Forked(
            command, cwd=ROOT, env=self._environment(), text=True,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip
        printed, errors = process.communicate()
        assert process.returncode in (0, 1), errors
        return str(printed)

    def _environment(self) -> dict[str, str]:
        told = {PACE: str(self.pace), HARM: str(self.harm)}
        here = {"PATH": self.path, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
        return {**os.environ, **here, **told}


def states(sweep: Sweep) -> list[str]:
    """State of each run, in order."""
    return [one.state for one in observe(sweep)]


def settled(sweep: Sweep) -> list[Observation]:
    """What became of the runs when nothing of the sweep is in the queue any more."""
    # It takes long, and what is asked costs the machine on which the jobs run.
    wait(lambda: not jobs_of(sweep) and not any(one.is_live for one in observe(sweep)), every=1)
    return observe(sweep)


def wait(condition: Callable[[], object], *, every: float = 0.3) -> None:
    """Until `condition` holds; `every` so many seconds it is looked."""
    wait_until(condition, _queue, every=every)


def _queue() -> str:
    asked = subprocess.run(["squeue", "--all"], capture_output=True, text=True, check=False)
    return f"the sweep does not come so far; in the queue are\n{asked.stdout}{asked.stderr}"


def training(sweep: Sweep, *members: str) -> bool:
    """Are these members in the middle of a fit?"""
    at_work = [one for one in members if sweep.last_status(one).get("state") == "running"]
    return len(at_work) == len(members) and all(_step(sweep, one) > 5 for one in members)


def _step(sweep: Sweep, member: str) -> int:
    file = sweep.progress(member)
    told: dict[str, Any] = json.loads(file.read_text()) if file.exists() else {"step": 0}
    fresh = told.get("time", 0) > sweep.last_status(member)["begun"]
    return int(told["step"]) if fresh else 0
