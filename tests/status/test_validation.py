"""The column of the validation metric: of one task, of several, and of runs without one."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from sparsekit.status.pages import runs_page
from sparsekit.status.views import RunView, SweepView
from sparsekit.tasks.metric import ACCURACY, Metric

PERPLEXITY = Metric("perplexity", "min")


def run_view(number: int, primary: Metric | None, validation: float | None) -> RunView:
    return RunView(
        number=number, name=f"r{number}", experiment="e", differs={}, state="running", reason="",
        heartbeat=None, cycles_done=0, cycles=1, fit=None, primary=primary, validation=validation,
        seconds=0.0, attempts=1, job=None, node=None, pid=None, log=None, error=None,
    )  # fmt: skip


def page(measured: Sequence[tuple[Metric | None, float | None]]) -> tuple[str, list[str]]:
    """The words above the table of these runs, and its rows without what all of them have."""
    runs = tuple(run_view(number, *one) for number, one in enumerate(measured))
    counts = {"running": len(runs)}
    view = SweepView("s", "f", 0.0, "command", "user", len(runs), counts, None, runs)
    lines = runs_page(view, store="", width=None).splitlines()
    rule = next(number for number, line in enumerate(lines) if line.startswith("---"))
    rows = [" ".join(line.split()[3:-1]) for line in lines[rule + 1 : rule + 1 + len(runs)]]
    return " ".join(" ".join(lines[3:rule]).split()), rows


@pytest.mark.parametrize(
    ("measured", "heading", "cells"),
    [
        ([(ACCURACY, 0.9712), (None, None)], "run state cycles val % attempts", ["97.12", ""]),
        (
            [(PERPLEXITY, 12.5), (PERPLEXITY, None)],
            "run state cycles val attempts perplexity",
            ["12.5000", ""],
        ),
        (
            [(ACCURACY, 0.9712), (PERPLEXITY, 12.5)],
            "run state cycles validation attempts",
            ["accuracy 97.12 %", "perplexity 12.5000"],
        ),
    ],
)
def test_values_have_the_unit_of_their_task(
    measured: Sequence[tuple[Metric | None, float | None]], heading: str, cells: list[str]
) -> None:
    assert page(measured) == (heading, cells)
