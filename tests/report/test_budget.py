"""What makes comparisons unequal is said; and the end of a fit is not its best epoch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from sparsekit.report.epochs import of_history
from sparsekit.tasks.metric import ACCURACY
from tests.report.writer import Writer, output


def write(writer: Writer, method: str, sparsity: float, **more: Any) -> None:
    for seed in (0, 1):
        key = writer.ticket(f"{method} {sparsity} {seed}", 0.9 - seed / 10, sparsity, more=more)
        writer.record(method, seed, [(sparsity, key)], target=sparsity)


def flops(relative: float) -> Mapping[str, float]:
    return {"training_flops": relative * 1e9, "training_flops_relative": relative}


def test_unequal_training_flops_are_named(
    writer: Writer, capsys: pytest.CaptureFixture[str]
) -> None:
    write(writer, "dense", 0.0, **flops(1.0))
    for sparsity, cycles in ((0.8, 8.0), (0.9, 11.0)):
        write(writer, "imp", sparsity, **flops(cycles))
        write(writer, "rigl", sparsity, **flops(0.5))
    shown = output(capsys, writer.store.root, "--against", "rigl")
    dense = "unequal training FLOPs at the same sparsity, in dense trainings: "
    assert f"{dense}rigl 0.50, imp 8.00 to 11.00" in shown
    assert "unequal training FLOPs: imp has 16 to 22 times those of rigl" in shown


def test_equal_budgets_need_no_words(writer: Writer, capsys: pytest.CaptureFixture[str]) -> None:
    write(writer, "dense", 0.0, **flops(1.0))
    write(writer, "set", 0.9, **flops(0.50))
    write(writer, "rigl", 0.9, **flops(0.51))
    write(writer, "old", 0.9)
    assert "unequal" not in output(capsys, writer.store.root, "--against", "rigl")


def test_sparsity_of_different_weights_is_named(
    writer: Writer, capsys: pytest.CaptureFixture[str]
) -> None:
    layers = {"fc.weight": {"size": 1000, "kept": 100}, "head.weight": {"size": 500, "kept": 50}}
    write(writer, "imp", 0.9)
    write(writer, "snip", 0.9, layers=layers)
    shown = output(capsys, writer.store.root)
    weights = "1,000 in fc.weight (imp); 1,500 in fc.weight, head.weight (snip)"
    assert f"unequal sparsity: the prunable weights are not the same: {weights}" in shown


def test_the_best_epoch_is_none_of_the_last(
    writer: Writer, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [
        {"epoch": epoch, "val_accuracy": value}
        for epoch, value in ((1.0, 0.5), (2.0, 0.75), (3.0, None), (4.0, 0.7))
    ]
    assert of_history(rows, ACCURACY) == {
        "last_val": 0.7, "last_epoch": 4.0, "best_val": 0.75, "best_val_epoch": 2.0,
    }  # fmt: skip
    assert of_history(rows[2:3], ACCURACY) == {}
    key = writer.ticket("imp", 0.9, 0.9, history=rows)
    writer.record("imp", 0, [(0.9, key)])
    shown = output(capsys, writer.store.root, "--epochs")
    section = shown.partition("last and best epoch, by validation accuracy (%)")[2]
    (line,) = (line for line in section.splitlines() if line.startswith("imp "))
    assert line.split() == ["imp", "90.00", "1", "70.00", "4", "75.00", "2"]
    assert "the best epoch is chosen on validation after the fact" in section
