"""The pages of `python -m sparsekit.status`: the sweeps of a store, and the runs of a sweep."""

from __future__ import annotations

import os
import shlex
import time
from collections.abc import Sequence
from pathlib import Path

from sparsekit.report.page.places import page_of
from sparsekit.status.columns import Column, cut, fitted
from sparsekit.status.views import RunView, StoreView, SweepView
from sparsekit.status.wording import brief, duration, plural
from sparsekit.sweeps.liveness import STATES
from sparsekit.system.printing import damage_lines
from sparsekit.tasks.metric import ACCURACY

PROGRAM = "python -m sparsekit.status"
UNTOLD = ""


def sweeps_page(view: StoreView, *, store: str, width: int | None) -> str:
    """Show a row per sweep, the latest last. `store` is what commands need to find the store."""
    views = view.sweeps
    damaged = damage_lines([*view.damaged, *(text for one in views for text in one.damaged)])
    if not views:
        none = f"no sweeps in {view.store}; `python -m sparsekit.run -m ...` makes one"
        return "\n".join(damaged or [none])
    states = [state for state in STATES if any(view.counts.get(state) for view in views)]
    columns = [
        Column("sweep", [view.name for view in views]),
        Column("created", [_date(view.created) for view in views], rank=2, least=16),
        Column("runs", [str(view.num_runs) for view in views]),
        *(Column(state, [_count(view, state) for view in views]) for state in states),
        Column("command", [view.command for view in views], rank=3, least=12),
    ]
    look = f"look at one: {PROGRAM} SWEEP{store}"
    return "\n".join([fitted(columns, width), "", *damaged, look, *_about_copy(views, store)])


def runs_page(view: SweepView, *, store: str, width: int | None) -> str:
    """Show a row per run, how many are in which state, and what can be done about missing ones."""
    keys = list(dict.fromkeys(key for run in view.runs for key in run.differs))
    created = f"created {_date(view.created)}, {duration(time.time() - view.created)} ago"
    head = f"{view.name}: {plural(view.num_runs, 'run')}, {created}"
    command = view.command if width is None else cut(view.command, width)
    table = fitted([*_who(view.runs, keys), *_what(view)], width)
    return "\n".join([head, command, "", table, "", *_footer(view, store)])


def _who(runs: Sequence[RunView], keys: Sequence[str]) -> list[Column]:
    differing = [
        Column(key, [run.differs.get(key, "") for run in runs], rank=1, least=6) for key in keys
    ]
    return [Column("run", [f"{run.number:04d}" for run in runs]), *differing]


def _what(view: SweepView) -> list[Column]:
    runs = view.runs
    return [
        Column("state", [run.state for run in runs]),
        Column("heard of", [_heard(run) for run in runs], rank=4),
        Column("why", [brief(run.reason, run.error) for run in runs], rank=8, least=16),
        Column("cycles", [_cycles(run) for run in runs], rank=2),
        Column("step", [_step(run) for run in runs], rank=3),
        Column(_validation_title(runs), _validations(runs), rank=5),
        Column("time", [duration(run.seconds) if run.seconds else "" for run in runs], rank=6),
        Column("attempts", [str(run.attempts or "") for run in runs], rank=7),
        Column("log", [_log(run.log) for run in runs], rank=9, least=20, keeps_end=True),
    ]


def _footer(view: SweepView, store: str) -> list[str]:
    lines = [", ".join(f"{count} {state}" for state, count in view.counts.items())]
    counts, name = view.counts, shlex.quote(view.name)
    waits = sum(counts.get(state, 0) for state in ("lost", "open"))
    if waits and view.controller:
        lines.append(f"lost runs are submitted again by the controller, job {view.controller}")
    lines += damage_lines(view.damaged)
    page = page_of(Path(view.folder).parent.parent, view.name)
    if page.is_file():
        lines.append(f"page: {page}")
    failed = next((run.number for run in view.runs if run.state in ("failed", "lost")), None)
    if failed is not None:
        lines.append(f"what went wrong: {PROGRAM} logs {name} {failed}{store}")
    lines += _about_copy([view], store)
    if view.is_missing and view.copy_of is None:
        only = "   (only the failed: --failed)" if counts.get("failed") else ""
        lines.append(f"try again: {PROGRAM} retry {name}{store}{only}")
    return lines


def _about_copy(views: Sequence[SweepView], store: str) -> list[str]:
    """Say that a store is a copy, and how to go on in it."""
    original = next((view.copy_of for view in views if view.copy_of is not None), None)
    if original is None:
        return []
    return [
        f"this store is a copy of {original}: what is under way there is not shown here",
        f"make it a store of its own: {PROGRAM} adopt{store}",
    ]


def store_option(given: Path | None) -> str:
    """Return what a command needs so that it finds the same store again."""
    return "" if given is None else f" --store {shlex.quote(str(given))}"


def _count(view: SweepView, state: str) -> str:
    return str(view.counts.get(state, UNTOLD))


def _date(when: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M", time.localtime(when))


def _heard(run: RunView) -> str:
    return UNTOLD if run.heartbeat is None else f"{duration(run.heartbeat)} ago"


def _cycles(run: RunView) -> str:
    return f"{run.cycles_done}/{'?' if run.cycles is None else run.cycles}"


def _step(run: RunView) -> str:
    return UNTOLD if run.fit is None else f"{run.fit.step}/{run.fit.last_step}"


def _validation_title(runs: Sequence[RunView]) -> str:
    metrics = {run.primary for run in runs if run.primary is not None}
    if len(metrics) > 1:
        return "validation"
    return "val %" if metrics <= {ACCURACY} else f"val {next(iter(metrics)).name}"


def _validations(runs: Sequence[RunView]) -> list[str]:
    """Format values as the title says: with their names if not all runs have the same metric."""
    names_differ = len({run.primary for run in runs if run.primary is not None}) > 1
    texts = []
    for run in runs:
        if run.primary is None or run.validation is None:
            texts.append(UNTOLD)
        elif run.primary == ACCURACY and not names_differ:
            texts.append(f"{100 * run.validation:.2f}")
        else:
            name = f"{run.primary.name} " if names_differ else ""
            texts.append(f"{name}{run.primary.text(run.validation)}")
    return texts


def _log(path: str | None) -> str:
    """Return a path relative to the current folder, if that is shorter."""
    if path is None:
        return UNTOLD
    return min(path, os.path.relpath(path), key=len)
