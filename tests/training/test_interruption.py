"""A fit that is asked to end saves, stops, and goes on to the bits of one that was not."""

from __future__ import annotations

import dataclasses
import functools
import json
import os
import random
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from lightning.pytorch import Callback, LightningModule, Trainer
from PIL import Image

from sparsekit.compose import compose_runs
from sparsekit.execution import interruption
from sparsekit.execution.interruption import SIGNALS, Stopped
from sparsekit.execution.store import SCRATCH, Store
from sparsekit.report.compare import differences
from sparsekit.runner import Job, build_job, run_job
from sparsekit.training.checkpoints import read_checkpoint
from sparsekit.training.dashboards import COMMAND
from sparsekit.training.module import Classifier
from tests.conftest import TINY
from tests.execution.processes import ended, forked, wait_for

DONE, STOPPED, KILLED = 0, 75, -signal.SIGKILL
STEPS_PER_EPOCH = 19  # of digits, in batches of 64
Tiny = Callable[..., Job]
RunTiny = Callable[..., tuple[Store, list[str]]]


SOUP = ("method=soup", "method.num_particles=2", "method.cycles=1", "train.epochs=40")
TWO_DEVICES = ("method=dense", "train.epochs=4", "runtime.devices=2")


@pytest.fixture(scope="module")
def undisturbed_soup(tmp_path_factory: pytest.TempPathFactory) -> Store:
    return undisturbed(SOUP, tmp_path_factory.mktemp("soup"))


@pytest.fixture(scope="module")
def undisturbed_on_two(tmp_path_factory: pytest.TempPathFactory) -> Store:
    return undisturbed(TWO_DEVICES, tmp_path_factory.mktemp("two"))


def undisturbed(asked: Sequence[str], folder: Path) -> Store:
    """The store of a run that takes a while, for several tests."""
    defaults = [text for text in TINY if not text.startswith("train.epochs")]
    job = build_job(compose_runs([*defaults, *asked, f"runtime.store={folder / 'runs'}"])[0])
    assert ended(life(job)) == DONE
    return job.store


@dataclasses.dataclass
class Watch(Callback):
    """Sends `number` after step `at` of the first fit; notes what a fit tells its callbacks.

    `to`: this process, its parent, or nobody but rank 1.
    """

    diary: Path
    at: int
    number: int
    to: str = "me"

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        ours = all(signal.getsignal(number) is interruption._note for number in SIGNALS)
        self._write("handlers are " + ("ours" if ours else "others'"))

    def on_train_batch_start(
        self, trainer: Trainer, pl_module: Classifier, batch: Any, batch_idx: int
    ) -> None:
        if pl_module.step != self.at - 1:
            return
        if self.to == "parent" and trainer.global_rank == 0:
            os.kill(os.getppid(), self.number)
        elif self.to == "me" or (self.to == "rank 1" and trainer.global_rank == 1):
            os.kill(os.getpid(), self.number)
        elif self.to == "death of rank 1" and trainer.global_rank == 1:
            os.kill(os.getpid(), signal.SIGKILL)

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *_: Any) -> None:
        if trainer.world_size > 1:
            time.sleep(0.01)  # or a fit of this size would be over before its parent is heard

    def on_exception(
        self, trainer: Trainer, pl_module: LightningModule, exception: BaseException
    ) -> None:
        self._write(f"told of {type(exception).__name__}")

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._write("told of the end")

    def _write(self, text: str) -> None:
        with self.diary.open("a") as file:
            file.write(text + "\n")


def watch(key: str, settings: Mapping[str, Any], scratch: Path, *, callback: Callback) -> Callback:
    return callback


def life(job: Job, *, listens: bool = True) -> int:
    """Process number of one life of a run, in a group of its own: 0 done, 75 stopped."""

    def live() -> None:
        os.setsid()
        if listens:
            interruption.listen()
        (job.store.root / "alive").touch()
        try:
            run_job(job, "test")
        except Stopped as stopped:
            os._exit(STOPPED if stopped.signals else 1)

    job.store.root.mkdir(exist_ok=True)
    (job.store.root / "alive").unlink(missing_ok=True)
    return forked(live)


def watched(job: Job, tmp_path: Path, **asked: Any) -> Job:
    callback = Watch(tmp_path / "diary", **asked)
    return dataclasses.replace(job, observers=(functools.partial(watch, callback=callback),))


def saved_steps(job: Job) -> list[int]:
    scratches = (job.store.root / "work").glob(f"fit-*/*/{SCRATCH}")
    return [saved["step"] for saved in map(read_checkpoint, scratches) if saved is not None]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR2])
@pytest.mark.parametrize("at", [1, 5, STEPS_PER_EPOCH, STEPS_PER_EPOCH + 1])
def test_a_fit_saves_at_the_step_at_which_it_is_asked_and_stops(
    at: int, number: int, tiny: Tiny, run_tiny: RunTiny, tmp_path: Path
) -> None:
    """Within the first batch; within an epoch; at its end, with its row of history; after it."""
    asked = ("method=one_shot", "train.epochs=1.5")
    expected, _ = run_tiny(*asked, store="undisturbed")
    job = tiny(*asked, "runtime.checkpoint_seconds=1000", store="stopped")
    assert ended(life(watched(job, tmp_path, at=at, number=number))) == STOPPED
    assert saved_steps(job) == [at]
    assert list(job.store.keys("fit")) == []
    diary = (tmp_path / "diary").read_text().splitlines()
    assert diary == ["handlers are ours", "told of Stopped"]
    assert ended(life(job)) == DONE
    assert differences(expected, job.store) == []


def test_after_its_last_step_a_fit_finishes_and_the_run_stops(
    tiny: Tiny, run_tiny: RunTiny, tmp_path: Path
) -> None:
    asked = ("method=one_shot", "train.epochs=1.5")
    expected, _ = run_tiny(*asked, store="undisturbed")
    job = tiny(*asked, store="stopped")
    last = 29  # of one and a half epochs
    disturbed = watched(job, tmp_path, at=last, number=signal.SIGTERM)
    assert ended(life(disturbed)) == STOPPED
    assert saved_steps(job) == []
    assert len(list(job.store.keys("fit"))) == 1
    assert "told of the end" in (tmp_path / "diary").read_text()
    assert ended(life(job)) == DONE
    assert differences(expected, job.store) == []


def test_a_run_that_does_not_listen_is_not_asked(tiny: Tiny, tmp_path: Path) -> None:
    """USR2 kills it, as ever; SIGTERM remains with Lightning."""
    job = watched(tiny("method=one_shot"), tmp_path, at=3, number=signal.SIGUSR2)
    assert ended(life(job, listens=False)) == -signal.SIGUSR2
    assert (tmp_path / "diary").read_text() == "handlers are others'\n"
    assert saved_steps(job) == []


def disturb(job: Job, moments: random.Random, *, upto: float, to_all: bool, kill: bool) -> int:
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


@pytest.mark.parametrize("kill", [False, True], ids=["stopped", "killed right after"])
def test_stopped_at_random_moments_same_bits(kill: bool, tiny: Tiny, run_tiny: RunTiny) -> None:
    asked = ("method=imp", "method.cycles=2", "train.epochs=6", "train.evaluate_every=2")
    expected, _ = run_tiny(*asked, store="undisturbed")
    job = tiny(*asked, "runtime.checkpoint_seconds=1000", store="stopped")
    moments, lives = random.Random(1), []
    while DONE not in lives and len(lives) < 12:
        lives.append(disturb(job, moments, upto=0.8, to_all=False, kill=kill))
    assert STOPPED in lives
    assert set(lives) <= {STOPPED, KILLED, DONE}
    if lives[-1] != DONE:
        assert ended(life(job)) == DONE
    assert differences(expected, job.store) == []
    assert not list((job.store.root / "work").glob("*-*/*")), "work was left behind"


def claimed(job: Job, kind: str) -> int:
    return len(list((job.store.root / "work").glob(f"{kind}-*")))


def wait_until(condition: Callable[[], bool], pid: int, seconds: float = 60.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert os.waitpid(pid, os.WNOHANG) == (0, 0), "the run ended"
        assert time.monotonic() < deadline
        time.sleep(0.01)


@pytest.mark.parametrize("to_all", [False, True], ids=["parent", "all processes"])
def test_workers_stopped_same_bits(to_all: bool, tiny: Tiny, undisturbed_soup: Store) -> None:
    """While they are born and import PyTorch, and while they train."""
    job = tiny(*SOUP, "executor=workers", "runtime.checkpoint_seconds=1000", store="stopped")
    moments, send = random.Random(2), os.killpg if to_all else os.kill
    places: dict[str, Callable[[], bool]] = {
        "born": lambda: len(list(job.store.keys("start"))) == 2,
        "training": lambda: claimed(job, "fit") == 2,
    }
    for place, is_reached in places.items():
        pid = life(job)
        wait_until(is_reached, pid)
        time.sleep(moments.uniform(0.1, 0.4))
        send(pid, moments.choice(SIGNALS))
        assert ended(pid) == STOPPED
        assert saved_steps(job) if place == "training" else not saved_steps(job)
    assert len(list(job.store.keys("fit"))) == 1
    assert ended(life(job)) == DONE
    assert differences(undisturbed_soup, job.store) == []


@pytest.fixture
def image_folder(tmp_path: Path) -> tuple[str, ...]:
    """Overrides for a small image folder that two processes decode."""
    generator = np.random.default_rng(0)
    for split, number in (("train", 40), ("val", 10)):
        for name in ("cat", "dog"):
            folder = tmp_path / "data" / "pets" / split / name
            folder.mkdir(parents=True)
            for position in range(number):
                pixels = generator.integers(0, 256, (16, 16, 3), np.uint8)
                Image.fromarray(pixels).save(folder / f"{position:03d}.png")
    return (
        "data=image_folder",
        "data.path=pets",
        "data.image_size=16",
        "data.num_val=16",
        "data.num_workers=2",
        "train.batch_size=8",
        "train.epochs=6",
        f"runtime.data={tmp_path / 'data'}",
    )


def test_loading_processes_leave_the_signals_to_the_fit(
    image_folder: tuple[str, ...],
    tiny: Tiny,
    run_tiny: RunTiny,
    capfd: pytest.CaptureFixture[str],
) -> None:
    """All processes of the run get them, as in a job of SLURM, at any moment of their lives."""
    asked = ("method=one_shot", *image_folder)
    expected, _ = run_tiny(*asked, store="undisturbed")
    capfd.readouterr()
    job = tiny(*asked, store="stopped")
    moments, lives = random.Random(3), []
    while DONE not in lives and len(lives) < 12:
        lives.append(disturb(job, moments, upto=2, to_all=True, kill=False))
    assert lives.count(STOPPED) > 1
    assert set(lives) <= {STOPPED, DONE}
    if lives[-1] != DONE:
        assert ended(life(job)) == DONE
    assert differences(expected, job.store) == []
    assert "Traceback" not in capfd.readouterr().err


@pytest.mark.parametrize("to", ["parent", "rank 1"])
def test_all_ranks_stop_at_one_step(
    to: str, tiny: Tiny, undisturbed_on_two: Store, tmp_path: Path
) -> None:
    job = tiny(*TWO_DEVICES, "runtime.checkpoint_seconds=1000", store="stopped")
    at = STEPS_PER_EPOCH + 3
    disturbed = watched(job, tmp_path, at=at, number=signal.SIGTERM, to=to)
    assert ended(life(disturbed)) == STOPPED
    (step,) = saved_steps(job)
    assert step == at if to == "rank 1" else at <= step < 4 * STEPS_PER_EPOCH
    diary = (tmp_path / "diary").read_text().splitlines()
    assert diary[:2] == ["handlers are ours"] * 2
    assert "told of the end" not in diary
    assert ended(life(job)) == DONE
    assert differences(undisturbed_on_two, job.store) == []


def test_ranks_that_die_before_they_listen_are_no_failure(
    tiny: Tiny, undisturbed_on_two: Store
) -> None:
    """All processes get the signal, the ranks while they import PyTorch or later."""
    job = tiny(*TWO_DEVICES, store="stopped")
    for seconds in (1.0, 4.0):
        pid = life(job)
        wait_for(job.store.root / "alive")
        time.sleep(seconds)
        os.killpg(pid, signal.SIGTERM)
        assert ended(pid) == STOPPED
    assert ended(life(job)) == DONE
    assert differences(undisturbed_on_two, job.store) == []


def test_a_rank_that_dies_unasked_is_a_failure(tiny: Tiny, tmp_path: Path) -> None:
    job = tiny(*TWO_DEVICES)
    dying = watched(job, tmp_path, at=3, number=signal.SIGTERM, to="death of rank 1")
    assert ended(life(dying)) == 1


def blocked(pid: int) -> set[int]:
    """Numbers of the signals that a process keeps back, in all of its threads."""
    found = set(range(1, 65))
    for status in Path(f"/proc/{pid}/task").glob("*/status"):
        (line,) = (text for text in status.read_text().splitlines() if text.startswith("SigBlk"))
        mask = int(line.split()[1], 16)
        found &= {number for number in range(1, 65) if mask >> (number - 1) & 1}
    return found


def test_the_process_that_talks_to_wandb_outlives_the_signals(tmp_path: Path) -> None:
    pytest.importorskip("wandb")
    child = subprocess.Popen(
        COMMAND,
        stdin=subprocess.PIPE,
        env={**os.environ, "WANDB_SILENT": "true"},
        start_new_session=True,
        text=True,
    )
    assert child.stdin is not None
    deadline = time.monotonic() + 30
    while not set(SIGNALS) <= blocked(child.pid):
        assert child.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.01)
    opening = {"id": "one", "project": "p", "mode": "offline", "dir": str(tmp_path)}
    child.stdin.write(json.dumps(["open", opening]) + "\n")
    child.stdin.flush()
    wait_for(tmp_path / "wandb" / "latest-run" / "run-one.wandb", seconds=60)
    for number in SIGNALS:
        os.killpg(child.pid, number)
    rest = (["log", {"step": 3, "val_loss": 0.5}], ["close", {"exit_code": 0}])
    child.communicate("".join(json.dumps(line) + "\n" for line in rest), timeout=60)
    assert child.returncode == 0
    (record,) = (tmp_path / "wandb").glob("offline-run-*/run-one.wandb")
    assert b"val_loss" in record.read_bytes()
