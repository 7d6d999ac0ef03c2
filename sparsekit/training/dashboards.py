"""Weights & Biases as a mirror: it is told what happened and cannot change anything.

A child process talks to wandb; a thread feeds it. However slow, broken or absent wandb is, a fit
only ever puts a small record into a queue.
"""

from __future__ import annotations

import contextlib
import functools
import json
import multiprocessing.util
import os
import queue
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from sparsekit.core.fit_spec import FitSpec
from sparsekit.system.secrets import masked_here
from sparsekit.training.observing import Observer, RunningFit
from sparsekit.training.stopping import stopped

COMMAND = (sys.executable, "-m", "sparsekit.training.wandb_child")
MODES = ("auto", "online", "offline")
LONGEST, LONGEST_TAG = 128, 64
"""Characters that wandb accepts in the names of runs and groups, and in tags."""


def wandb_runs(
    key: str,
    spec: FitSpec,
    scratch: Path,
    about: Mapping[str, str],
    config: Mapping[str, Any],
    folder: str,
    *,
    project: str = "sparsekit",
    entity: str | None = None,
    mode: Literal["auto", "online", "offline"] = "auto",
    patience: float = 20.0,
) -> Observer:
    """Return an observer that mirrors one fit into the wandb run whose id is the fit's key.

    Runs are grouped by experiment, method and seed. The run's config is `config`, with the
    description of this fit below `fit`. `mode` auto: online if a key is configured, else offline
    below `folder`/wandb. At the end of the program wandb has `patience` seconds to finish.
    """
    if mode not in MODES:
        raise ValueError(
            f"logger.mode={mode!r} is not one of {', '.join(MODES)}; logger=none is off"
        )
    asked = {name: getattr(spec, name) for name in ("cycle", "particle", "seed", "first_step")}
    group = f"{about['experiment']}/{about['method']}/seed{spec.seed}"
    opening = {
        "id": key,
        "project": project,
        "entity": entity,
        "mode": mode,
        "dir": folder,
        "group": group[:LONGEST],
        "job_type": about["method"][:LONGEST_TAG],
        "name": f"{about['method'][:LONGEST_TAG]} seed {spec.seed} cycle {spec.cycle}",
        "tags": [about["experiment"][:LONGEST_TAG]],
        "config": {**config, "fit": asked},
    }
    return Mirror(opening, patience).observer


class Mirror:
    """Tells the child process of the rows that History adds, on rank 0."""

    def __init__(self, opening: Mapping[str, Any], patience: float) -> None:
        self.opening = opening
        self.patience = patience
        self.num_told = 0

    @property
    def observer(self) -> Observer:
        """What the fit calls."""
        return Observer(start=self.open, epoch=self.log, end=self.close, failure=self.close)

    def open(self, fit: RunningFit) -> None:
        """Begin a run of wandb, or go on with it."""
        if fit.is_rank_zero:
            self.num_told = len(fit.rows)
            _child(self.patience).tell("open", self.opening)

    def log(self, fit: RunningFit) -> None:
        """Tell the rows that are new."""
        if fit.is_rank_zero:
            for row in fit.rows[self.num_told :]:
                _child(self.patience).tell("log", row)
            self.num_told = len(fit.rows)

    def close(self, fit: RunningFit, error: BaseException | None = None) -> None:
        """Tell how the fit ended."""
        if fit.is_rank_zero:
            _child(self.patience).tell("close", _ending(error))


def _ending(error: BaseException | None) -> dict[str, Any]:
    if error is None:
        return {"exit_code": 0}
    # wandb calls a run preempted that announces it, and then ends as if it had failed.
    told = {"preempted": True} if stopped(error) else {"error": masked_here(repr(error))}
    return {"exit_code": 1, **told}


class Child:
    """The process that talks to wandb, and the thread that feeds it lines."""

    def __init__(self, patience: float) -> None:
        self.patience = patience
        self.lines: queue.SimpleQueue[str | None] = queue.SimpleQueue()
        self.process = _started()
        self.thread = threading.Thread(target=self._feed, daemon=True, name="sparsekit-wandb")
        self.thread.start()
        # As atexit, but also at the end of worker processes, which leave without it.
        multiprocessing.util.Finalize(None, self.finish, exitpriority=10)

    def tell(self, what: str, content: Mapping[str, Any]) -> None:
        """Queue a record; returns at once."""
        if self.process is not None:
            self.lines.put(json.dumps([what, content]))

    def finish(self) -> None:
        """Let the child finish, for at most `patience` seconds."""
        if self.process is None:
            return
        self.lines.put(None)
        deadline = time.monotonic() + self.patience
        self.thread.join(self.patience)
        try:
            self.process.wait(max(0.1, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
            _warn(f"wandb did not finish within {self.patience:g} s; results are in the store")

    def _feed(self) -> None:
        if self.process is None or self.process.stdin is None:
            return
        try:
            while (line := self.lines.get()) is not None:
                self.process.stdin.write(line + "\n")
                self.process.stdin.flush()
            self.process.stdin.close()
        except OSError:
            _warn("the wandb process ended early; results are in the store")


def _started() -> subprocess.Popen[str] | None:
    try:
        # Its own session: an interrupt or a signal meant for the training is not meant for it.
        return subprocess.Popen(
            COMMAND,
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            env={**os.environ, "WANDB_SILENT": "true"},
            start_new_session=True,
            text=True,
        )
    except OSError as error:
        _warn(f"wandb cannot be started: {error}; results are in the store")
        return None


@functools.cache
def _child(patience: float) -> Child:
    return Child(patience)


def _warn(text: str) -> None:
    print(f"warning: {text}", file=sys.stderr, flush=True)
