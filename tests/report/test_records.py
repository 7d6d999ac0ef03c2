"""Results as plain rows: one per run and cycle, every metric under its name."""

from __future__ import annotations

import subprocess
import sys

import pytest

from sparsekit.report.records import plain_rows
from sparsekit.tasks.metric import Metric
from tests.report.writer import Writer, three_seeds


def test_one_row_for_each_run_and_cycle(writer: Writer) -> None:
    three_seeds(writer)
    rows = plain_rows([writer.store.root])
    assert [(row["seed"], row["cycle"], row["sparsity"]) for row in rows] == [
        (0, 0, 0.0), (0, 1, 0.8), (1, 0, 0.0), (1, 1, 0.8), (2, 0, 0.0), (2, 1, 0.8),
    ]  # fmt: skip
    assert rows[1]["test_accuracy"] == pytest.approx(0.8)
    assert [row["seconds"] for row in rows[1::2]] == [1.0, 2.0, 3.0]
    assert {row["metric"] for row in rows} == {"accuracy"}
    assert "layers" not in rows[0]


def test_a_row_says_where_it_comes_from(writer: Writer) -> None:
    more = {"flops_by": {"attention": 3}, "warnings": ["one", "two"], "collapsed": []}
    ticket = writer.measured("a", Metric("r2", "max"), 0.5, 0.8, **more)
    writer.record("imp", 4, [(0.8, ticket)], overrides=["train.epochs=1", "seed=4"],
                  status="running", experiment="diabetes")  # fmt: skip
    (row,) = plain_rows([writer.store.root])
    assert {name: row[name] for name in ("experiment", "method", "overrides", "seed")} == {
        "experiment": "diabetes", "method": "imp", "overrides": "train.epochs=1", "seed": 4,
    }  # fmt: skip
    assert (row["metric"], row["test_r2"], row["val_r2"]) == ("r2", 0.5, 1.0)
    assert (row["ticket"], row["status"]) == (ticket, "running")
    assert (row["flops_by.attention"], row["warnings"], row["collapsed"]) == (3, "one; two", "")
    assert row["store"] == str(writer.store.root)


def test_it_needs_no_pytorch() -> None:
    code = (
        "import sys, sparsekit.report.records as r; print(sorted({'torch', 'numpy', 'pandas',"
        " 'matplotlib'} & set(sys.modules)))"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ended.stdout.strip() == "[]"
