"""What a run will be made of, known without computing anything, without data and without a GPU.

A key follows from configurations alone: of a stage's inputs only the keys are part of it. So the
loop that computes a run also plans it, with a store that takes down what it is asked for.
"""

from __future__ import annotations

import collections
import dataclasses
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, cast

from sparsekit.compose import Run
from sparsekit.config import ConfigError
from sparsekit.execution.identity import Stage
from sparsekit.execution.store import Store
from sparsekit.execution.sweeps import differing, member_of
from sparsekit.method import loop
from sparsekit.report.formats import Table, terminal
from sparsekit.runner import Job, build_job
from sparsekit.training.fit import Settings, fit_stage
from sparsekit.training.task import init_seed, init_stage

COUNTS = ("stages", "done", "shared", "to compute", "fits")


@dataclasses.dataclass(frozen=True)
class Plan:
    """A store in which everything seems to be there: it takes down every stage it is asked for."""

    stages: dict[str, Stage] = dataclasses.field(default_factory=dict)

    def ensure(self, stage: Stage, compute: Callable[[Path], None]) -> str:
        """Key of `stage`; `compute` is never called, and so nothing is ever read."""
        self.stages.setdefault(stage.key, stage)
        return stage.key


@dataclasses.dataclass(frozen=True)
class Share:
    """How many stages a run has, and of these: in the store, made by an earlier run, to compute.

    `fits` are those of the stages to compute that train.
    """

    stages: int
    done: int
    shared: int
    to_compute: int
    fits: int

    def __add__(self, other: Share) -> Share:
        pairs = zip(dataclasses.astuple(self), dataclasses.astuple(other), strict=True)
        return Share(*(one + another for one, another in pairs))


def plan_run(job: Job) -> tuple[Stage, ...]:
    """Every stage of a run, in the order in which the run asks for them.

    ValueError for settings of which no fit can be made.
    """
    plan = Plan()

    def draw(again: int) -> str:
        stage = init_stage(job.settings["task"], init_seed(job.seed, again))
        return plan.ensure(stage, _compute_nothing)

    def fit(settings: Settings) -> str:
        return plan.ensure(fit_stage(settings), _compute_nothing)

    turns = loop.run(
        job.method,
        draw,
        fit=fit,
        settings=job.settings,
        judge=job.judge,
        store=cast(Store, plan),  # of a store, the loop itself uses only what a plan has
        executor=_in_turn,
    )
    collections.deque(turns, maxlen=0)
    return tuple(plan.stages.values())


def share_out(jobs: Sequence[Job]) -> Iterator[Share]:
    """What is left to each run after what is in its store and after the runs before it.

    Whether the files of a stored stage are undamaged is not looked at. ConfigError for a run that
    cannot be planned.
    """
    stored: dict[tuple[Path, str], frozenset[str]] = {}
    planned: set[tuple[Path, str]] = set()
    for job in jobs:
        store = job.store
        try:
            stages = plan_run(job)
        except ValueError as error:
            raise ConfigError(f"{job.run.shown}: {error}") from error
        for kind in {stage.kind for stage in stages}:
            if (store.root, kind) not in stored:
                stored[store.root, kind] = frozenset(store.keys(kind))
        missing = [one for one in stages if one.key not in stored[store.root, one.kind]]
        mine = [one for one in missing if (store.root, one.key) not in planned]
        planned |= {(store.root, one.key) for one in mine}
        yield Share(
            stages=len(stages),
            done=len(stages) - len(missing),
            shared=len(missing) - len(mine),
            to_compute=len(mine),
            fits=sum(one.kind == "fit" for one in mine),
        )


def forecast(runs: Sequence[Run]) -> str:
    """The table of runs before they run: how they differ, and how much each has to compute."""
    shares = list(share_out([build_job(run) for run in runs]))
    differs = differing([run.overrides for run in runs])
    keys = list(dict.fromkeys(key for one in differs for key in one))
    rows: list[list[Any]] = [
        [member_of(number), *(one.get(key, "") for key in keys), *dataclasses.astuple(share)]
        for number, (one, share) in enumerate(zip(differs, shares, strict=True))
    ]
    total = sum(shares, Share(0, 0, 0, 0, 0))
    note = (
        f"{len(runs)} run{'s' * (len(runs) != 1)}, {total.stages} stages: {total.done} done, "
        f"{total.shared} shared, {total.to_compute} to compute "
        f"({total.fits} fit{'s' * (total.fits != 1)})"
    )
    headers = ["run", *keys, *COUNTS]
    cells = [[str(cell) for cell in row] for row in rows]
    return terminal(Table(headers, cells, columns=headers, values=rows, notes=["", note]))


def _in_turn(function: Callable[[Any], str], items: Sequence[Any]) -> list[str]:
    return [function(item) for item in items]


def _compute_nothing(folder: Path) -> None:
    raise AssertionError("a plan computes nothing")
