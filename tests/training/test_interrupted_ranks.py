"""A fit on two devices that is asked to end stops on both at one step, and loses nothing."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from sparsekit.report.compare import differences
from sparsekit.runs.runner import PreparedRun
from sparsekit.store.store import Store
from tests import warm
from tests.system.processes import ended, wait_for
from tests.training.lives import (
    DONE,
    STEPS_PER_EPOCH,
    STOPPED,
    life,
    saved_steps,
    undisturbed,
    watched,
)

Tiny = Callable[..., PreparedRun]
TWO_DEVICES = ("method=dense", "train.epochs=4", "runtime.devices=2")


@pytest.fixture(scope="module")
def undisturbed_on_two(tmp_path_factory: pytest.TempPathFactory) -> Store:
    with warm.spawning():
        return undisturbed(TWO_DEVICES, tmp_path_factory.mktemp("two"))


@pytest.mark.usefixtures("warm_spawn")
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
    tiny: Tiny, undisturbed_on_two: Store, tmp_path: Path
) -> None:
    """All processes get the signal, the ranks while they import PyTorch or later."""
    job = tiny(*TWO_DEVICES, store="stopped")
    disturbed = watched(job, tmp_path, at=STEPS_PER_EPOCH, number=0, to="nobody")
    for seconds in (1.0, 4.0):
        pid = life(disturbed)
        wait_for(job.store.root / "alive")
        time.sleep(seconds)
        os.killpg(pid, signal.SIGTERM)
        assert ended(pid) == STOPPED
    with warm.spawning():
        assert ended(life(job)) == DONE
    assert differences(undisturbed_on_two, job.store) == []


@pytest.mark.usefixtures("warm_spawn")
def test_a_rank_that_dies_unasked_is_a_failure(tiny: Tiny, tmp_path: Path) -> None:
    job = tiny(*TWO_DEVICES)
    dying = watched(job, tmp_path, at=3, number=signal.SIGTERM, to="death of rank 1")
    assert ended(life(dying)) == 1
