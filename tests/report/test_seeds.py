"""What n counts: seeds, never cycles of one seed, and which of them are still to come."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import pytest

from sparsekit.report.collect import collect, read_records, results_of
from sparsekit.report.essential import curves
from sparsekit.report.rows import Row, last_parts, rows_of
from sparsekit.report.tables import comma_separated, terminal
from tests.report.writer import Writer, output


def rows(writer: Writer) -> list[Row]:
    return rows_of(collect([writer.store.root]))


def two_cycles(writer: Writer, seed: int) -> None:
    """A dense network, and two cycles at the same sparsity, one 10 % better than the other."""
    accuracies = ((0.0, 0.9), (0.8, 0.7), (0.8, 0.8))
    points = [
        (s, writer.ticket(f"{number}{seed}", a, s)) for number, (s, a) in enumerate(accuracies)
    ]
    writer.record("imp", seed, points)


def test_two_cycles_of_one_seed_are_not_two_seeds(writer: Writer) -> None:
    two_cycles(writer, seed=0)
    shown = [(row.name, row.sparsity, row.count) for row in rows(writer)]
    assert shown == [("imp", 0.0, 1), ("imp (cycle 1)", 0.8, 1), ("imp (cycle 2)", 0.8, 1)]
    text = terminal(collect([writer.store.root]))
    assert "+-" not in text
    assert "imp has 2 results of a seed at 80.00 %, each in a row of its own" in text


def test_each_cycle_is_pooled_over_its_seeds(writer: Writer) -> None:
    two_cycles(writer, seed=0)
    two_cycles(writer, seed=1)
    dense, first, second = rows(writer)
    assert (dense.count, first.count, second.count) == (2, 2, 2)
    assert first.primary().mean == pytest.approx(0.7)
    assert second.primary().mean == pytest.approx(0.8)
    lines = csv.DictReader(io.StringIO(comma_separated(collect([writer.store.root]))))
    assert [line["method"] for line in lines] == ["imp", "imp (cycle 1)", "imp (cycle 2)"]


def test_dense_training_that_goes_on_is_another_row_than_dense(writer: Writer) -> None:
    """A method to sparsity 0 trains twice; both results are at sparsity 0."""
    points = [(0.0, writer.ticket("a", 0.9, 0.0)), (0.0, writer.ticket("b", 0.95, 0.0))]
    writer.record("one_shot", 0, points)
    assert [(row.part, row.count) for row in rows(writer)] == [("cycle 0", 1), ("cycle 1", 1)]


def test_curves_go_through_the_last_cycle(writer: Writer) -> None:
    two_cycles(writer, seed=0)
    writer.record("imp", 1, [(0.9, writer.ticket("x", 0.5, 0.9))])
    assert [row.part for row in last_parts(rows(writer))] == ["", "cycle 2", ""]
    ((curve,), _) = curves(rows(writer))
    assert curve.points[1] == (0.8, pytest.approx(0.8))


def test_a_sparsity_on_the_way_to_another_is_no_second_seed(writer: Writer) -> None:
    """Runs to 75 % and to 93.75 % in as many cycles both pass 75 %, on different ways."""
    for target, cycles in ((0.75, 1), (0.9375, 1)):
        dense = writer.ticket("dense", 0.9, 0.0)
        passed = [(0.75, writer.ticket(f"{target}{c}", 0.8, 0.75)) for c in range(cycles)]
        writer.record("imp", 0, [(0.0, dense), *passed], target=target)
    shown = [(row.part, row.count) for row in rows(writer)]
    assert shown == [
        ("", 1), ("of the run to 75.00 %", 1), ("of the run to 93.75 %", 1),
    ]  # fmt: skip


def test_the_same_runs_of_two_stores_are_no_more_seeds(writer: Writer, tmp_path: Path) -> None:
    other = Writer(tmp_path / "other")
    writer.record("imp", 0, [(0.8, writer.ticket("a", 0.9, 0.8))])
    other.record("imp", 0, [(0.8, other.ticket("b", 0.8, 0.8))])
    found = rows_of(collect([writer.store.root, other.store.root]))
    assert [row.count for row in found] == [1, 1]
    assert [row.part for row in found] == [f"in {w.store.root}" for w in (writer, other)]


def test_a_source_for_every_seed_is_one_row_and_two_of_one_seed_are_two(writer: Writer) -> None:
    keys = [f"ticket-{digit * 20}" for digit in "abc"]

    def started(key: str, seed: int) -> None:
        points = [(0.0, writer.ticket(key, 0.9, 0.0))]
        file = writer.record("dense", seed, points, overrides=[f"source.key={key}"])
        file.rename(file.with_name(f"{key}.json"))

    started(keys[0], seed=0)
    started(keys[1], seed=1)
    assert [(row.part, row.count) for row in rows(writer)] == [("", 2)]
    started(keys[2], seed=0)
    shown = sorted((row.part, row.count) for row in rows(writer))
    assert shown == [(f"source.key={key}", 1) for key in keys]


def test_n_says_of_how_many_seeds_it_is(writer: Writer, capsys: pytest.CaptureFixture[str]) -> None:
    for seed in range(3):
        points = [(0.0, writer.ticket(f"d{seed}", 0.9, 0.0)),
                  (0.8, writer.ticket(f"p{seed}", 0.8, 0.8))]  # fmt: skip
        is_done = seed < 2
        writer.record("imp", seed, points[: 2 if is_done else 1], target=0.8,
                      status="done" if is_done else "failed")  # fmt: skip
    records = read_records([writer.store.root])
    dense, pruned = rows_of(results_of(records), records)
    assert (dense.count_text, pruned.count_text) == ("3", "2 of 3")
    text = output(capsys, writer.store.root)
    assert "2 of 3" in text
    assert "n = 2 of 3 means that runs of other seeds are not done" in text
    lines = csv.DictReader(io.StringIO(output(capsys, writer.store.root, "--format", "csv")))
    assert [line["n"] for line in lines] == ["3", "2"]


def test_a_run_to_another_sparsity_is_not_waited_for(writer: Writer) -> None:
    for target, status in ((0.5, "done"), (0.9, "done"), (0.9, "running")):
        seed = int(status == "running")
        points = [(target, writer.ticket(f"{target}", 0.9, target))]
        writer.record("snip", seed, points if status == "done" else [], target=target,
                      status=status)  # fmt: skip
    records = read_records([writer.store.root])
    shown = [row.count_text for row in rows_of(results_of(records), records)]
    assert shown == ["1", "1 of 2"]


def test_warnings_stand_below_the_table_with_their_seeds(writer: Writer) -> None:
    for seed, texts in enumerate((["a first", "another"], ["a first"])):
        ticket = writer.ticket(f"p{seed}", 0.8, 0.8, more={"warnings": texts})
        writer.record("imp", seed, [(0.8, ticket)])
    lines = terminal(collect([writer.store.root])).splitlines()
    assert lines[-2:] == [
        "warning: imp at 80.00 %: a first (2 of 2 seeds)",
        "warning: imp at 80.00 %: another (1 of 2 seeds)",
    ]
