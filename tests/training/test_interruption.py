"""A fit that is asked to end saves, stops, and goes on to the bits of one that was not."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from sparsekit.mirror.feeder import COMMAND
from sparsekit.report.compare import differences
from sparsekit.runs.runner import PreparedRun
from sparsekit.store.store import Store
from sparsekit.system.interruption import SIGNALS
from tests.conftest import SPARSE
from tests.system.processes import ended, wait_for
from tests.training.lives import (
    DONE,
    KILLED,
    STEPS_PER_EPOCH,
    STOPPED,
    claimed,
    disturb,
    life,
    saved_steps,
    undisturbed,
    wait_for_life,
    watched,
)
from tests.waiting import PATIENCE, wait_until

Tiny = Callable[..., PreparedRun]
RunTiny = Callable[..., tuple[Store, list[str]]]


SOUP = ("method=soup", "method.num_particles=2", "method.cycles=1", "train.epochs=4", SPARSE)


@pytest.fixture(scope="module")
def undisturbed_soup(tmp_path_factory: pytest.TempPathFactory) -> Store:
    return undisturbed(SOUP, tmp_path_factory.mktemp("soup"))


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


@pytest.mark.parametrize("kill", [False, True], ids=["stopped", "killed right after"])
def test_stopped_at_random_moments_same_bits(kill: bool, tiny: Tiny, run_tiny: RunTiny) -> None:
    asked = ("method=imp", "method.cycles=2", "train.epochs=6", "train.evaluate_every=2")
    expected, _ = run_tiny(*asked, store="undisturbed")
    job = tiny(*asked, "runtime.checkpoint_seconds=1000", store="stopped")
    moments, lives = random.Random(1), []
    while DONE not in lives and len(lives) < 12:
        lives.append(disturb(job, moments, upto=0.8, to_all=False, kill=kill))
    assert lives[0] != DONE
    assert set(lives) <= {STOPPED, KILLED, DONE}
    if lives[-1] != DONE:
        assert ended(life(job)) == DONE
    assert differences(expected, job.store) == []
    assert not list((job.store.root / "work").glob("*-*/*")), "work was left behind"


@pytest.mark.parametrize("to_all", [False, True], ids=["parent", "all processes"])
def test_workers_stopped_same_bits(
    to_all: bool,
    tiny: Tiny,
    undisturbed_soup: Store,
    tmp_path: Path,
) -> None:
    """While they are born and import PyTorch, and while they train, where they had imported it."""
    job = tiny(*SOUP, "executor=workers", "runtime.checkpoint_seconds=1000", store="stopped")
    moments, send = random.Random(2), os.killpg if to_all else os.kill
    places: dict[str, Callable[[], bool]] = {
        "born": lambda: len(list(job.store.keys("pruned"))) == 2,
        "training": lambda: claimed(job, "fit") == 2,
    }
    disturbed = watched(job, tmp_path, at=STEPS_PER_EPOCH, number=0, to="nobody")
    for place, is_reached in places.items():
        pid = life(disturbed, warm_workers=place != "born")
        wait_for_life(is_reached, pid)
        time.sleep(moments.uniform(0.1, 0.4))
        send(pid, moments.choice(SIGNALS))
        assert ended(pid) == STOPPED
        # Who is signalled late, on a busy machine, is born and trains already.
        assert saved_steps(job) or place == "born"
    assert len(list(job.store.keys("fit"))) == 1
    assert ended(life(job, warm_workers=True)) == DONE
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
        "train.epochs=3",
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
        lives.append(disturb(job, moments, upto=1, to_all=True, kill=False))
    assert STOPPED in lives
    assert set(lives) <= {STOPPED, DONE}
    if lives[-1] != DONE:
        assert ended(life(job)) == DONE
    assert differences(expected, job.store) == []
    assert "Traceback" not in capfd.readouterr().err


LEAVES_EARLY = """
import sys, torch
from pathlib import Path
from sparsekit.data.image_folder import image_folder
data = image_folder(Path(sys.argv[1]), path="pets", test_folder="val", num_val=16, num_workers=2)
for _ in data.train_batches(batch_size=2, seed=0, epoch=0, device=torch.device("cpu")):
    raise RuntimeError("in the middle of an epoch")
"""


def test_a_program_that_fails_in_the_middle_of_an_epoch_ends(
    image_folder: tuple[str, ...], tmp_path: Path
) -> None:
    """It waits for the loading processes, which must not ignore that it ends them."""
    command = (sys.executable, "-c", LEAVES_EARLY, str(tmp_path / "data"))
    ending = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE)
    assert ending.returncode == 1
    assert ending.stderr.endswith("RuntimeError: in the middle of an epoch\n")


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

    def keeps_signals_back() -> bool:
        assert child.poll() is None
        return set(SIGNALS) <= blocked(child.pid)

    wait_until(keeps_signals_back, "signals are not kept back", every=0.01)
    opening = {"id": "one", "mode": "offline", "seconds_to_connect": 10, "dir": str(tmp_path)}
    child.stdin.write(json.dumps(["open", opening]) + "\n")
    child.stdin.flush()
    wait_for(tmp_path / "wandb" / "latest-run" / "run-one.wandb")
    for number in SIGNALS:
        os.killpg(child.pid, number)
    closing = json.dumps(["close", {"state": "failed", "error": "said afterwards"}])
    child.communicate(closing + "\n", timeout=PATIENCE)
    assert child.returncode == 0
    (record,) = (tmp_path / "wandb").glob("offline-run-*/run-one.wandb")
    assert b"said afterwards" in record.read_bytes()
