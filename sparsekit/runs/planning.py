"""What a run will be made of, known without computing anything, without data and without a GPU.

A key follows from configurations alone: of a stage's inputs only the keys are part of it. So the
loop that computes a run also plans it, with a store that records what it is asked for.
"""

from __future__ import annotations

import collections
import dataclasses
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, cast

from sparsekit.configuration.config import ConfigError
from sparsekit.core.fit_spec import FitSpec
from sparsekit.method import loop
from sparsekit.runs.runner import PreparedRun
from sparsekit.store.identity import Stage
from sparsekit.store.store import Store
from sparsekit.training.fit import fit_stage
from sparsekit.training.problem import init_stage


@dataclasses.dataclass(frozen=True)
class Plan:
    """A store that seems to have everything: it records every stage it is asked for."""

    stages: dict[str, Stage] = dataclasses.field(default_factory=dict)

    def ensure(self, stage: Stage, compute: Callable[[Path], None]) -> str:
        """Return the key of `stage`; `compute` is never called, and so nothing is ever read."""
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


def plan_run(prepared: PreparedRun) -> tuple[Stage, ...]:
    """Return every stage of a run, in the order in which the run asks for them.

    ValueError for settings that no fit can have.
    """
    plan = Plan()

    def draw(again: int) -> str:
        stage = init_stage(prepared.common.problem, prepared.seed, prepared.source, again)
        return plan.ensure(stage, _compute_nothing)

    def fit(spec: FitSpec) -> str:
        return plan.ensure(fit_stage(spec), _compute_nothing)

    turns = loop.run(
        prepared.method,
        draw,
        fit=fit,
        common=prepared.common,
        judge=prepared.judge,
        store=cast(Store, plan),  # of a store, the loop itself uses only what a plan has
        executor=_in_turn,
    )
    collections.deque(turns, maxlen=0)
    return tuple(plan.stages.values())


def share_out(prepared_runs: Sequence[PreparedRun]) -> Iterator[Share]:
    """Yield what each run has to compute beyond its store and the runs before it.

    Files of stored stages are not verified. ConfigError for a run that cannot be planned.
    """
    stored: dict[tuple[Path, str], frozenset[str]] = {}
    planned: set[tuple[Path, str]] = set()
    for prepared in prepared_runs:
        store = prepared.store
        try:
            stages = plan_run(prepared)
        except ValueError as error:
            raise ConfigError(f"{prepared.run.shown}: {error}") from error
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


def unstored(prepared_runs: Sequence[PreparedRun]) -> list[PreparedRun]:
    """Return the runs of which a store lacks a stage, or of which it is not known what they need.

    To the others nothing can happen that a rehearsal would find: it has happened already.
    """
    return [prepared for prepared in prepared_runs if _lacks_a_stage(prepared)]


def _lacks_a_stage(prepared: PreparedRun) -> bool:
    try:
        stages = plan_run(prepared)
    except ValueError:
        return True
    return not all(prepared.store.path(stage.key).is_dir() for stage in stages)


def _in_turn(function: Callable[[Any], str], items: Sequence[Any]) -> list[str]:
    return [function(item) for item in items]


def _compute_nothing(folder: Path) -> None:
    raise AssertionError("a plan computes nothing")
