"""Any study shows: its numbers by their path, and why one that was asked for is not there."""

from __future__ import annotations

import csv
import dataclasses
import io

import pytest

from sparsekit.report import __main__ as report
from sparsekit.report.collect import collect
from sparsekit.report.notes import skipped
from sparsekit.report.rows import rows_of
from sparsekit.report.studied import measures
from tests.report.writer import Writer, output

STUDY = {
    "overlap": {"first": 0.5, "second": 0.25},
    "text": "left out",
    "missing": None,
    "is_equal": True,
    "norms": [1.0, 3.0],
    "matrix": [[0.0, 2.0, 4.0], [2.0, 0.0, 6.0], [4.0, 6.0, 0.0]],
    "curve": [[0, 0.5], [10, 0.75], [20, 0.25]],
    "pairs": [{"kind": "near", "error": [0.1, 0.3]}, {"kind": "far", "error": [0.5]}],
}


def test_numbers_by_their_path() -> None:
    assert measures(STUDY) == pytest.approx({
        "overlap.first": 0.5, "overlap.second": 0.25, "is_equal": 1.0,
        "norms.mean": 2.0, "norms.min": 1.0, "norms.max": 3.0,
        "matrix.mean": 4.0, "matrix.min": 2.0, "matrix.max": 6.0,
        "curve.first": 0.5, "curve.last": 0.25,
        "curve.mean": 0.5, "curve.min": 0.25, "curve.max": 0.75,
        "pairs.near.error.mean": 0.2, "pairs.near.error.min": 0.1, "pairs.near.error.max": 0.3,
        "pairs.far.error.mean": 0.5, "pairs.far.error.min": 0.5, "pairs.far.error.max": 0.5,
    })  # fmt: skip


@pytest.fixture
def studied(writer: Writer) -> Writer:
    """Two seeds with a study nobody knows, and a run whose study was skipped."""
    for seed, value in enumerate((0.25, 0.75)):
        studies = {"strange": writer.study(f"s{seed}", {"a": {"b": value}})}
        rows = [(0.0, writer.ticket("d", 0.9, 0.0)), (0.8, writer.ticket(f"p{seed}", 0.8, 0.8))]
        writer.record("imp", seed, rows, studies=studies)
    reason = "one particle and no cycle before"
    writer.record("snip", 0, [(0.8, writer.ticket("s", 0.7, 0.8))],
                  studies={"barriers": writer.study("skipped", {"skipped": reason})},
                  skipped={"barriers": reason})  # fmt: skip
    return writer


def test_a_study_nobody_knows_is_a_section(
    studied: Writer, capsys: pytest.CaptureFixture[str]
) -> None:
    text = output(capsys, studied.store.root, "--studies")
    lines = text.split("studies\n")[1].splitlines()
    assert lines[0].split() == ["method", "sparsity", "study", "measure", "value", "n"]
    assert lines[2].split() == ["imp", "80.00", "strange", "a.b", "0.5000", "+-", "0.3536", "2"]
    rows = csv.DictReader(
        io.StringIO(output(capsys, studied.store.root, "--studies", "--format", "csv"))
    )
    (row,) = rows
    assert (row["measure"], row["mean"], row["n"]) == ("a.b", "0.5", "2")
    assert float(row["std"]) == pytest.approx(0.3535534)


def test_which_studies_there_are_is_said_without_asking(
    studied: Writer, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = output(capsys, studied.store.root).splitlines()
    assert "studies, shown by --studies: strange (of imp)" in lines


def test_a_study_that_was_skipped_says_why(
    studied: Writer, capsys: pytest.CaptureFixture[str]
) -> None:
    assert report.main([str(studied.store.root), "--particles"]) == 0
    line = "study barriers was skipped for snip at 80.00 %: one particle and no cycle before"
    assert line in output(capsys, studied.store.root).splitlines()
    shown = output(capsys, studied.store.root, "--studies").split("studies\n")[1]
    assert line in shown.splitlines()


def test_without_studies_the_section_says_so(
    writer: Writer, capsys: pytest.CaptureFixture[str]
) -> None:
    writer.record("imp", 0, [(0.8, writer.ticket("a", 0.9, 0.8))])
    assert "no run here has studies" in output(capsys, writer.store.root, "--studies")
    assert "shown by --studies" not in output(capsys, writer.store.root)


def test_studies_are_one_table_of_a_csv(
    studied: Writer, capsys: pytest.CaptureFixture[str]
) -> None:
    root = str(studied.store.root)
    assert report.main([root, "--format", "csv", "--studies", "--particles"]) == 2
    assert "2 are asked: --particles, --studies" in capsys.readouterr().err


def test_a_study_that_was_skipped_everywhere_is_one_short_line(writer: Writer) -> None:
    writer.record("imp", 0, [(s, writer.ticket(f"t{s}", 0.8, s)) for s in (0.5, 0.9)])
    half, most = (
        dataclasses.replace(one, skipped_studies={"calibration": "no classes"})
        for one in collect([writer.store.root])
    )
    line = "study calibration was skipped for {}: no classes"
    assert skipped(rows_of([half, most])) == [line.format("every row")]
    some = rows_of([half, dataclasses.replace(most, skipped_studies={})])
    assert skipped(some) == [line.format("imp at 50.00 %")]
