"""Runs in processes of their own that are asked to end on their way, for tests."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import multiprocessing
import os
import random
import signal
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from sparsekit.configuration.compose import compose_runs
from sparsekit.core.fit_spec import FitSpec
from sparsekit.runs.runner import PreparedRun, prepare_run, run_prepared
from sparsekit.store.store import SCRATCH, Store
from sparsekit.system import interruption
from sparsekit.system.interruption import SIGNALS, Stopped
from sparsekit.training.checkpoint_files import read_checkpoint
from sparsekit.training.observing import Observer, RunningFit
from tests import warm
from tests.conftest import TINY
from tests.system.processes import ended, forked, wait_for
from tests.waiting import wait_until

DONE, STOPPED, KILLED = 0, 75, -signal.SIGKILL
STEPS_PER_EPOCH = 19  # of digits, in batches of 64


@dataclasses.dataclass
class Watch:
    """Sends `number` after step `at` of the first fit; notes what a fit tells its observers.

    `to`: this process, its parent, rank 1, or nobody. Fits in several processes that are asked by
    their parent wait for that from step `at` on, or they would be over before it is heard.
    """

    diary: Path
    at: int
    number: int
    to: str = "me"

    @property
    def observer(self) -> Observer:
        return Observer(
            start=self.begin, step=self.send_or_wait, end=self.close, failure=self.close
        )

    def begin(self, fit: RunningFit) -> None:
        ours = all(signal.getsignal(number) is interruption._note for number in SIGNALS)
        self._write("handlers are " + ("ours" if ours else "others'"))

    def send_or_wait(self, fit: RunningFit) -> None:
        if fit.step == self.at:
            self._send(fit.trainer.global_rank)
        in_a_team = multiprocessing.parent_process() is not None or fit.trainer.world_size > 1
        if in_a_team and self.to in ("parent", "nobody") and fit.step >= self.at:
            wait_until(interruption.asked, "the parent does not pass it on", every=0.01)

    def _send(self, rank: int) -> None:
        if self.to == "parent" and rank == 0:
            os.kill(os.getppid(), self.number)
        elif self.to == "me" or (self.to == "rank 1" and rank == 1):
            os.kill(os.getpid(), self.number)
        elif self.to == "death of rank 1" and rank == 1:
            os.kill(os.getpid(), signal.SIGKILL)

    def close(self, fit: RunningFit, error: BaseException | None = None) -> None:
        self._write(f"told of {'the end' if error is None else type(error).__name__}")

    def _write(self, text: str) -> None:
        with self.diary.open("a") as file:
            file.write(text + "\n")


def watch(key: str, spec: FitSpec, scratch: Path, *, one: Watch) -> Observer:
    return one.observer


def life(job: PreparedRun, *, listens: bool = True, warm_workers: bool = False) -> int:
    """Process number of one life of a run, in a group of its own: 0 done, 75 stopped."""
    within = warm.spawning_in_threads if warm_workers else contextlib.nullcontext

    def live() -> None:
        os.setsid()
        if listens:
            interruption.listen()
        (job.store.root / "alive").touch()
        try:
            with within():
                run_prepared(job, "test")
        except Stopped as stopped:
            os._exit(STOPPED if stopped.signals else 1)

    job.store.root.mkdir(exist_ok=True)
    (job.store.root / "alive").unlink(missing_ok=True)
    return forked(live)


def watched(job: PreparedRun, tmp_path: Path, **asked: Any) -> PreparedRun:
    one = Watch(tmp_path / "diary", **asked)
    return dataclasses.replace(job, observers=(functools.partial(watch, one=one),))


def saved_steps(job: PreparedRun) -> list[int]:
    scratches = (job.store.root / "work").glob(f"fit-*/*/{SCRATCH}")
    return [saved["step"] for saved in map(read_checkpoint, scratches) if saved is not None]


def undisturbed(asked: Sequence[str], folder: Path) -> Store:
    """The store of a run that takes a while, for several tests."""
    defaults = [text for text in TINY if not text.startswith("train.epochs")]
    job = prepare_run(compose_runs([*defaults, *asked, f"runtime.store={folder / 'runs'}"])[0])
    assert ended(life(job)) == DONE
    return job.store


def disturb(
    job: PreparedRun, moments: random.Random, *, upto: float, to_all: bool, kill: bool
) -> int:
    """One life that is asked to end within `upto` seconds, and killed right after if asked to."""
    pid = life(job)
    wait_for(job.store.root / "alive")
    time.sleep(moments.uniform(0, upto))
    send = os.killpg if to_all else os.kill
    send(pid, moments.choice(SIGNALS))
    if kill:
        time.sleep(moments.uniform(0, 0.03))
        os.killpg(pid, signal.SIGKILL)
    return ended(pid)


def claimed(job: PreparedRun, kind: str) -> int:
    return len(list((job.store.root / "work").glob(f"{kind}-*")))


def wait_for_life(condition: Callable[[], bool], pid: int) -> None:
    """Until `condition` holds, in the life of this process."""

    def holds() -> bool:
        assert os.waitpid(pid, os.WNOHANG) == (0, 0), "the run ended"
        return condition()

    wait_until(holds, "the run does not come so far", every=0.01)
