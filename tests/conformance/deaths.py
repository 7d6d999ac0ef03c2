"""Runs that are killed with SIGKILL at every place where it could matter, and go on from there."""

from __future__ import annotations

import os
import signal
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from sparsekit.store import store as store_module
from sparsekit.training.checkpoints import Checkpoints
from sparsekit.training.module import FitModule
from sparsekit.training.observing import RunningFit

WITHIN_FITS = ("step", "saved")
AROUND_STAGES = ("claimed", "computed", "sealed", "published")
OF_THE_STORE = ("claimed", "sealed")
"""Places between which no code of a method runs: what follows is the same for all stages of a kind.
Whoever goes on empties the folder first, down to checkpoints, of which there are none then."""


def run_through_deaths(
    function: Callable[[], Any], diary: Path, *, kinds: Sequence[str]
) -> list[str]:
    """Call `function` in one process after another, each killed at the next place, until one ends.

    Places: after a claim, in the middle of a fit (after a step, after a checkpoint), and before
    and after a stage is published; each is "KIND KEY", within fits with the number of a step. Every
    place of the `kinds` asked for kills once, unless it is in the diary already. Returns the places
    in order, as the diary knows them.
    """
    diary.touch()
    known = len(diary.read_text().splitlines())
    while True:
        pid = os.fork()
        if pid == 0:
            _live_and_die(function, diary, kinds)
        _, status = os.waitpid(pid, 0)
        if os.WIFEXITED(status):
            assert os.WEXITSTATUS(status) == 0, "the run failed instead of being killed"
            return diary.read_text().splitlines()[known:]
        assert os.WTERMSIG(status) == signal.SIGKILL


def in_diary(place: str) -> str:
    """What a place is in the diary; those of the store are one for all stages of a kind.

    >>> in_diary("sealed fit-0123"), in_diary("computed fit-0123")
    ('sealed fit', 'computed fit-0123')
    """
    return place.partition("-")[0] if place.split()[0] in OF_THE_STORE else place


def _live_and_die(function: Callable[[], Any], diary: Path, kinds: Sequence[str]) -> None:
    try:
        _set_traps(diary, kinds)
        function()
    except BaseException:
        traceback.print_exc()
        os._exit(1)
    os._exit(0)


def _set_traps(diary: Path, kinds: Sequence[str]) -> None:
    def die(place: str) -> None:
        noted = in_diary(place)
        if place.split()[0] in kinds and noted not in diary.read_text().splitlines():
            with diary.open("a") as file:
                file.write(noted + "\n")
            os.kill(os.getpid(), signal.SIGKILL)

    claim, seal, rename = store_module.claim, store_module.seal, os.rename
    claimed: list[str] = []

    def trapped_claim(work: Path, key: str, *, stale_after: float) -> Path | None:
        folder = claim(work, key, stale_after=stale_after)
        claimed.append(key)
        die(f"claimed {key}")
        return folder

    def trapped_seal(stage: Any, folder: Path, started: float) -> None:
        die(f"computed {stage.key}")
        seal(stage, folder, started)
        die(f"sealed {stage.key}")

    def trapped_rename(source: Any, target: Any) -> None:
        rename(source, target)
        if "stages" in str(target):
            die(f"published {Path(target).name}")

    store_module.claim, store_module.seal = trapped_claim, trapped_seal
    os.rename = trapped_rename
    _trap_training(lambda kind, step: die(f"{kind} {claimed[-1]} {step}"))


def _trap_training(die: Callable[[str, int], None]) -> None:
    end_step, save = FitModule.end_step, Checkpoints.save

    def trapped_step(self: FitModule) -> None:
        end_step(self)
        if self.step % 3 == 2:  # fits may have three steps only
            die("step", self.step)

    def trapped_save(self: Checkpoints, fit: RunningFit) -> None:
        save(self, fit)
        ends_epoch = fit.step == fit.module.fit_schedule.steps_per_epoch
        if self.path.exists() and (ends_epoch or fit.step % 4 == 1):
            die("saved", fit.step)

    FitModule.end_step, Checkpoints.save = trapped_step, trapped_save
