"""Runs checked configurations: builds the objects, drives the loop, keeps the named records."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import hashlib
import math
import traceback
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from sparsekit.configuration import config
from sparsekit.configuration.compose import Run
from sparsekit.configuration.config import ConfigError
from sparsekit.configuration.identity import identity_of
from sparsekit.core.fit_spec import FitSpec, Problem
from sparsekit.method import loop
from sparsekit.method.cycle import Method
from sparsekit.method.loop import Turn
from sparsekit.method.studies import skipped
from sparsekit.mirror.logger import Mirror
from sparsekit.runs.mirroring import logged
from sparsekit.runs.recording import record, studied_before
from sparsekit.runs.rehearsal import rehearse
from sparsekit.runs.telling import progress
from sparsekit.store.identity import canonical, describe
from sparsekit.store.store import Busy, Store
from sparsekit.system import interruption
from sparsekit.system.executors import Executor
from sparsekit.system.fit_jobs import Parked
from sparsekit.system.interruption import Stopped
from sparsekit.system.printing import remark
from sparsekit.system.refusals import refusal_in
from sparsekit.system.secrets import masked_here
from sparsekit.system.team import Team
from sparsekit.training.fit import fit
from sparsekit.training.judge import NetworkJudge
from sparsekit.training.observing import ObserverMaker, made_observer
from sparsekit.training.problem import PROBLEM_PARTS, Source, ensure_init
from sparsekit.training.settings import Runtime

MOST_BYTES = 200
"""Of a method's name in that of a record, whose file name has 255 at most."""


@dataclasses.dataclass(frozen=True)
class PreparedRun:
    """A run with its objects built. Stages that others compute are waited for, for `patience` s.

    `source` gives the weights it starts from, unless they are drawn at random.
    `team`: the nodes of the job that train its fits together, if there are several. `origin` says
    how it was asked for: when, by which command, with which code.
    `mirror`: what is told of the run as a whole; `observers` are told of each of its fits.
    """

    run: Run
    method: Method
    common: FitSpec
    runtime: Runtime
    executor: Executor
    observers: tuple[ObserverMaker, ...] = ()
    patience: float = math.inf
    source: Source | None = None
    team: Team | None = None
    mirror: Mirror | None = None
    origin: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    @property
    def seed(self) -> int:
        return int(self.run.config["seed"])

    @property
    def name(self) -> str:
        """Stable name of the run: method, seed and a digest of what makes its results."""
        identity = canonical(identity_of(self.run.config))
        digest = hashlib.sha256(identity.encode()).hexdigest()[:8]
        return f"{_short(self.run.choices['method'])}-seed{self.seed}-{digest}"

    @property
    def store(self) -> Store:
        root = Path(self.runtime.store).expanduser()
        return Store(root, self.runtime.stale_seconds, self.patience)

    @property
    def judge(self) -> NetworkJudge:
        return NetworkJudge(self.common.problem, self.runtime)


def _short(name: str) -> str:
    """Return a name of a file, or its beginning where a name made of it would be too long."""
    given = name.encode(errors="surrogateescape")
    return name if len(given) <= MOST_BYTES else given[:MOST_BYTES].decode(errors="ignore")


def prepare_run(run: Run) -> PreparedRun:
    """Build the objects of a checked configuration; ConfigError for a value they refuse."""
    given = run.config
    try:
        built = {name: config.built(given[name]) for name in ("method", "runtime", "executor")}
        built["runtime"] = built["runtime"].placed()
        built["executor"](str, [])  # refuses its settings even when there is nothing to do
        problem = Problem(**{name: config.built(given[name]) for name in PROBLEM_PARTS})
        common = FitSpec(
            problem,
            config.built(given["train"]),
            int(given["seed"]),
            callbacks=config.built(given["callbacks"]) if given["callbacks"] else None,
        )
        source = None if given["source"] is None else config.built(given["source"])
        describe([common, source])  # refuses what cannot be part of an address
        prepared = PreparedRun(run, common=common, source=source, **built)
        return logged(prepared, None if given["logger"] is None else config.built(given["logger"]))
    except Exception as error:
        cause = error.__cause__ or error
        raise ConfigError(f"{run.shown}: {cause}") from error


def rehearse_all(prepared_runs: Sequence[PreparedRun]) -> None:
    """Try whatever may fail for a wrong value, once per kind of run, before anything is trained."""
    seen: set[str] = set()
    for prepared in prepared_runs:
        prepared.runtime.limit_threads_()
        common, num_nodes = prepared.common, prepared.run.config["resources"].get("nodes", 1)
        of_run = [common.problem, common.train, prepared.method, prepared.source]
        identity = canonical([describe(of_run), prepared.runtime.devices, num_nodes])
        if identity in seen:
            continue
        problem = canonical(describe(common.problem))
        try:
            for make in prepared.observers:
                made_observer(make, "", common, prepared.store.root)
            layers = rehearse(
                prepared.method,
                common,
                prepared.judge,
                source=prepared.source,
                num_nodes=num_nodes,
            )
        except (ValueError, TypeError, OSError) as error:
            raise ConfigError(f"{prepared.run.shown}: {refusal_in(error) or error}") from error
        if problem not in seen:
            remark(layers)
        seen |= {identity, problem}


def run_prepared(prepared: PreparedRun, title: str) -> dict[str, Any]:
    """Run one run to its end, or go on where it was stopped; returns its record.

    The record of a run that ends early keeps the cycles that were finished. Lightning turns an
    interrupt during a fit into SystemExit; it leaves here as the KeyboardInterrupt it was. Any
    other SystemExit counts as an error: one run must not end the whole program.
    """
    rows: list[dict[str, Any]] = []
    try:
        _run_cycles(prepared, rows, title)
    except (Stopped, Busy, Parked):
        record(prepared, rows, status="interrupted")
        raise
    except (KeyboardInterrupt, SystemExit) as error:
        if _is_interrupt(error):
            record(prepared, rows, status="interrupted")
            raise KeyboardInterrupt from error
        record(prepared, rows, status="failed", error=masked_here(traceback.format_exc()))
        raise RuntimeError(f"something in the run ended the program: {error!r}") from error
    except Exception as error:
        told = refusal_in(error) or masked_here(traceback.format_exc())
        # After a signal to all processes of a job it may be what that has broken.
        status = "interrupted" if interruption.asked() else "failed"
        with contextlib.suppress(OSError):  # a full disk has no room for this either
            record(prepared, rows, status=status, error=told)
        raise
    return record(prepared, rows, status="done")


def _is_interrupt(error: BaseException) -> bool:
    return isinstance(error, KeyboardInterrupt) or isinstance(error.__context__, KeyboardInterrupt)


def thawed(frozen: Mapping[str, Any]) -> Run:
    """Return the run that was frozen as plain data, as in a sweep's file."""
    names = [field.name for field in dataclasses.fields(Run)]
    content = {name: frozen[name] for name in names if name in frozen}
    return Run(**{**content, "overrides": tuple(content["overrides"])})


def fit_of(prepared: PreparedRun) -> Callable[[FitSpec], str]:
    """Return a function that computes one fit of a run, given its spec, and returns its key."""
    observers, team = prepared.observers, prepared.team
    return functools.partial(
        fit, store=prepared.store, runtime=prepared.runtime, observers=observers, team=team
    )


def _run_cycles(prepared: PreparedRun, rows: list[dict[str, Any]], title: str) -> None:
    store, mirror = prepared.store, prepared.mirror
    before = studied_before(prepared)
    record(prepared, rows, status="running")
    turns = loop.run(
        prepared.method,
        functools.partial(_draw, prepared),
        fit=fit_of(prepared),
        common=prepared.common,
        judge=prepared.judge,
        store=store,
        executor=mirror.watched(prepared.executor) if mirror else prepared.executor,
    )
    for turn in turns:
        rows.append(_row(turn, store, before))
        record(prepared, rows, status="running")
        remark(progress(title, turn, store))


def _draw(prepared: PreparedRun, again: int) -> str:
    """Draw the initial weights of a run's seed, or other ones if `again`; return their key."""
    root, source = prepared.runtime.data_root, prepared.source
    return ensure_init(
        prepared.common.problem,
        prepared.seed,
        store=prepared.store,
        root=root,
        source=source,
        again=again,
    )


def _row(turn: Turn, store: Store, before: Mapping[str, Mapping[str, str]]) -> dict[str, Any]:
    earlier = {n: key for n, key in before.get(turn.ticket, {}).items() if store.has(key)}
    studies = {**earlier, **turn.studies}
    return {
        "cycle": turn.cycle.index,
        "sparsity": turn.cycle.sparsity,
        "ticket": turn.ticket,
        "studies": studies,
        "skipped_studies": skipped(studies, store),
        "is_result": turn.cycle.is_result,
    }
