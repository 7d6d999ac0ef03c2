"""Weights & Biases as a mirror: it is told what happened and cannot change anything.

One run of wandb for each run, whose id is the identity of the run, so that an attempt that goes on
with a run goes on with that of wandb too. A process of its own (`child.py`) reads what there is to
tell in the store. Fits write the rows of their epochs into files beside it, because they may be in
another process, on another machine, and of several ranks.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from sparsekit.core.fit_spec import FitSpec
from sparsekit.mirror.feeder import child_of
from sparsekit.mirror.names import (
    FOLDER,
    LONGEST_TAG,
    group_of,
    live_folder,
    run_id,
    shown_name,
)
from sparsekit.system.executors import Executor
from sparsekit.system.files import Damaged, finite, open_log, refuse_links
from sparsekit.training.fit import fit_stage
from sparsekit.training.observing import Observer, RunningFit

LONGEST_ERROR = 1000
MODES = ("auto", "online", "offline")


@dataclasses.dataclass(frozen=True)
class Wandb:
    """The settings of the mirror; called like any logger, it makes the observer of one fit.

    `mode` auto: online if a key is configured, else offline below the store's wandb/. At the end of
    the program wandb has `patience` seconds to finish. ValueError for another mode.
    """

    project: str = "sparsekit"
    entity: str | None = None
    mode: Literal["auto", "online", "offline"] = "auto"
    patience: float = 20.0

    def __post_init__(self) -> None:
        if self.mode not in MODES:
            raise ValueError(
                f"logger.mode={self.mode!r} is not one of {', '.join(MODES)}; logger=none is off"
            )

    def __call__(
        self,
        key: str,
        spec: FitSpec,
        scratch: Path,
        about: Mapping[str, str],
        config: Mapping[str, Any],
        folder: str,
    ) -> Observer:
        """Return an observer that writes the rows of a fit where the mirror of its run looks."""
        identity = run_id(about["experiment"], about["name"])
        return LiveRows(Path(folder), identity, key).observer

    def mirror(
        self,
        about: Mapping[str, str],
        overrides: Sequence[str],
        config: Mapping[str, Any],
        folder: str,
    ) -> Mirror:
        """Return the mirror of the run that `about` names, which was asked for by `overrides`."""
        tags = (about["experiment"], about["method"], f"sparsity {about['sparsity']}")
        opening = {
            "id": run_id(about["experiment"], about["name"]),
            "project": self.project,
            "entity": self.entity,
            "mode": self.mode,
            "seconds_to_connect": self.patience / 2,  # so that there is time to go on offline
            "dir": folder,
            "group": group_of(about),
            "job_type": about["method"][:LONGEST_TAG],
            "name": shown_name(about, overrides),
            "tags": [tag[:LONGEST_TAG] for tag in (*tags, f"seed {about['seed']}")],
            "config": {**config, "about": dict(about)},
        }
        return Mirror(opening, self.patience)


@dataclasses.dataclass(frozen=True)
class Mirror:
    """Tells the child process of a run; every call returns at once."""

    opening: Mapping[str, Any]
    patience: float

    def in_sweep(self, name: str) -> Mirror:
        """Return the mirror of the same run as one of a sweep."""
        about = {**self.opening["config"]["about"], "sweep": name}
        config = {**self.opening["config"], "about": about}
        opening = {**self.opening, "group": group_of(about), "config": config}
        return dataclasses.replace(self, opening=opening)

    def watched(self, executor: Executor) -> Executor:
        """Return an executor that first says which fits are asked for."""

        def execute(function: Callable[[Any], str], items: Sequence[Any]) -> list[str]:
            self.fits(items)
            return executor(function, items)

        return execute

    def follow(self, status: str, rows: Sequence[Mapping[str, Any]], error: str | None) -> None:
        """Tell what is new in the record of the run, whenever that is written."""
        if status != "running":
            told = {"error": error.strip().rpartition("\n")[2][-LONGEST_ERROR:]} if error else {}
            self._tell("close", {"state": status, **told})
        elif rows:
            self._tell("cycle", rows[-1])
        else:
            self._tell("open", self.opening)

    def fits(self, specs: Sequence[FitSpec]) -> None:
        """Say which fits the run asks for now: those of one cycle."""
        if specs:
            keys = [fit_stage(spec).key for spec in specs]
            self._tell("fits", {"cycle": specs[0].cycle, "keys": keys})

    def _tell(self, what: str, content: Mapping[str, Any]) -> None:
        folder = Path(self.opening["dir"]) / FOLDER
        child_of(str(folder), self.patience).tell(what, content)


class LiveRows:
    """Appends the rows that History adds to a file, on rank 0; without it where that fails."""

    def __init__(self, root: Path, identity: str, key: str) -> None:
        self.root = root
        self.file = live_folder(root, identity) / f"{key}.jsonl"
        self.num_written = 0

    @property
    def observer(self) -> Observer:
        """What the fit calls."""
        return Observer(epoch=self.write)

    def write(self, fit: RunningFit) -> None:
        """Write the rows that are new."""
        if not fit.is_rank_zero:
            return
        new = "".join(json.dumps(finite(row)) + "\n" for row in fit.rows[self.num_written :])
        with contextlib.suppress(OSError, Damaged):
            refuse_links(self.root, self.file.parent)
            self.file.parent.mkdir(parents=True, exist_ok=True)
            with open_log(self.file) as file:
                file.write(new.encode())
            self.num_written = len(fit.rows)
