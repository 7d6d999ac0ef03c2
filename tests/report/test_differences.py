"""Differences over the same seeds: what is held against what, and what is said of it."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence

import pytest

from sparsekit.report import __main__ as report
from sparsekit.report.collect import collect
from sparsekit.report.differences import NO_EVIDENCE, NOT_EQUAL, differences
from sparsekit.report.formats import Table, comma_separated
from sparsekit.report.rows import rows_of
from sparsekit.tasks.metric import Metric
from tests.report.writer import Writer, output

IMP = (0.931, 0.928, 0.934, 0.929, 0.933)
RANDOM = (0.926, 0.927, 0.928, 0.925, 0.930)


def write(writer: Writer, method: str, sparsity: float, accuracies: Sequence[float]) -> None:
    for seed, accuracy in enumerate(accuracies):
        name = f"{method} {seed} {sparsity}"
        key = writer.ticket(name, accuracy, sparsity)
        writer.record(method, seed, [(sparsity, key)], target=sparsity)


def table(writer: Writer, against: str) -> Table:
    return differences(rows_of(collect([writer.store.root])), against)


def test_seeds_are_paired_and_the_interval_is_that_of_few(writer: Writer) -> None:
    write(writer, "imp", 0.9, IMP)
    write(writer, "random", 0.9, RANDOM)
    found = table(writer, "random")
    (cells,) = found.cells
    assert cells[:6] == ["imp", "90.00", "random at 90.00 %", "5", "+0.38", "+0.14 to +0.62"]
    assert cells[6:] == ["0.012", "0.062 (>= 0.062)", "better"]
    (line,) = csv.DictReader(io.StringIO(comma_separated(found)))
    assert float(line["difference_mean"]) == pytest.approx(0.0038)
    assert float(line["p_t"]) == pytest.approx(0.0115340487998)
    ((*_, verdict),) = table(writer, "imp").cells
    assert verdict == "worse"


def test_three_seeds_of_the_same_difference_are_no_evidence(writer: Writer) -> None:
    write(writer, "imp", 0.9, IMP[:3])
    write(writer, "random", 0.9, RANDOM)
    found = table(writer, "random")
    assert found.cells[0][3] == "3"
    assert found.cells[0][-1] == NO_EVIDENCE
    assert NOT_EQUAL in found.lines_below


def test_all_sparsities_are_held_against_dense_networks(writer: Writer) -> None:
    write(writer, "dense", 0.0, IMP)
    write(writer, "random", 0.8, RANDOM)
    write(writer, "random", 0.9, RANDOM)
    found = table(writer, "dense")
    assert [line[:3] for line in found.cells] == [
        ["random", "80.00", "dense at 0.00 %"],
        ["random", "90.00", "dense at 0.00 %"],
    ]
    # Two lines: each p is corrected for both.
    assert [line[6] for line in found.cells] == ["0.023", "0.023"]


def test_an_interval_that_is_one_of_many_is_no_evidence_by_itself(writer: Writer) -> None:
    write(writer, "random", 0.9, RANDOM[:4])
    for method in ("imp", "snip", "lamp"):
        write(writer, method, 0.9, IMP[:4])
    lines = table(writer, "random").cells
    assert [line[5] for line in lines] == ["+0.06 to +0.74"] * 3
    assert [(line[6], line[-1]) for line in lines] == [("0.103", NO_EVIDENCE)] * 3


def test_what_has_no_match_is_named(writer: Writer) -> None:
    write(writer, "imp", 0.8, IMP)
    write(writer, "imp", 0.9, IMP)
    write(writer, "random", 0.9, RANDOM)
    write(writer, "random", 0.98, RANDOM)
    write(writer, "snip", 0.5, RANDOM)
    found = table(writer, "imp")
    assert [line[1] for line in found.cells] == ["90.00"]
    assert "random at 98.00 % is left out: imp has no accuracy at this sparsity" in found.notes
    assert table(writer, "snip").cells == [], "at another sparsity than all others"


def test_seeds_that_only_one_has_do_not_count(writer: Writer) -> None:
    write(writer, "imp", 0.9, IMP[:2])
    for seed in (1, 7):
        key = writer.ticket(f"other {seed}", 0.9, 0.9)
        writer.record("random", seed, [(0.9, key)])
    assert table(writer, "random").cells[0][3] == "1"
    assert table(writer, "random").cells[0][5:8] == ["", "", ""]


def test_the_network_that_both_share_is_not_compared(writer: Writer) -> None:
    shared = writer.ticket("dense", 0.9, 0.0)
    writer.record("dense", 0, [(0.0, shared)])
    writer.record("imp", 0, [(0.0, shared), (0.5, writer.ticket("pruned", 0.8, 0.5))])
    found = table(writer, "dense")
    assert [line[1] for line in found.cells] == ["50.00"]
    assert not any("left out" in note for note in found.notes)


def test_of_a_metric_where_less_is_better_less_is_better(writer: Writer) -> None:
    perplexity = Metric("perplexity", "min")
    for method, values in (("imp", (9.0, 9.1, 9.2)), ("random", (12.0, 12.2, 12.1))):
        for seed, value in enumerate(values):
            key = writer.measured(f"{method} {seed}", perplexity, value, 0.9)
            writer.record(method, seed, [(0.9, key)])
    ((*_, verdict),) = table(writer, "random").cells
    assert verdict == "better"


@pytest.mark.parametrize(
    ("against", "message"),
    [("imq", "--against imq: there is imp, random"), ("imp", "there is nothing else to compare")],
)
def test_mistakes(
    against: str, message: str, writer: Writer, capsys: pytest.CaptureFixture[str]
) -> None:
    write(writer, "imp", 0.9, IMP[:1])
    if against == "imq":
        write(writer, "random", 0.9, RANDOM[:1])
    assert report.main([str(writer.store.root), "--against", against]) == 2
    assert message in capsys.readouterr().err


def test_it_is_a_section_of_the_report(writer: Writer, capsys: pytest.CaptureFixture[str]) -> None:
    write(writer, "imp", 0.9, IMP)
    write(writer, "random", 0.9, RANDOM)
    printed = output(capsys, writer.store.root, "--against", "random")
    assert "differences to random (%)" in printed
    assert "test metric less that of the same seed" in printed
