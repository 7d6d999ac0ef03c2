"""A metric that is not a number is a result: it is stored, shown, and ends no run."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sparsekit.report.collect import collect
from sparsekit.report.tables import terminal
from sparsekit.store.store import Store
from sparsekit.system.files import finite, read_json, write_measured
from sparsekit.tasks.classification import classification
from sparsekit.tasks.metric import Metric
from sparsekit.tasks.types import Task

TASK = "task._target_=tests.method.test_not_a_number.of_nothing"


def of_nothing() -> Task:
    """Judges by the recall of a class that no example has."""
    task = classification()

    def measure(outputs: Any, targets: Any) -> dict[str, tuple[float, float]]:
        return {**task.measure(outputs, targets), "recall": (0.0, 0)}

    return dataclasses.replace(task, measure=measure, primary=Metric("recall", "max", "percent"))


def test_a_run_is_not_ended_by_it(
    run_tiny: Callable[..., tuple[Store, list[str]]], capsys: pytest.CaptureFixture[str]
) -> None:
    store, tickets = run_tiny("method=one_shot", TASK)
    assert "validation not a number (recall)" in capsys.readouterr().err
    metrics = [store.read(ticket, "metrics.json") for ticket in tickets]
    assert [one["test_recall"] for one in metrics] == [None, None]
    assert all(0 < one["test_accuracy"] <= 1 for one in metrics)
    assert terminal(collect([store.root])).count(" nan ") == 2


def test_what_is_finite_stays_as_it_is(tmp_path: Path) -> None:
    value = {"a": [1, 2.5, None, True], "b": {"c": "text"}, "d": -0.0}
    assert finite(value) == value
    write_measured(tmp_path / "x.json", {"a": float("nan"), "b": [float("-inf"), 1.5]})
    assert read_json(tmp_path / "x.json") == {"a": None, "b": [None, 1.5]}
