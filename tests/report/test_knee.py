"""Essential sparsity and knees: of literal curves, and of stores."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sparsekit.report import __main__ as report
from sparsekit.report.knee import Essential, Point, drops_in_slope, essential, knee
from tests.report.writer import Writer, output

FLAT = [(0.0, 0.90), (0.5, 0.91), (0.8, 0.895), (0.9, 0.89), (0.95, 0.80), (0.98, 0.50)]


@pytest.mark.parametrize(
    ("points", "tolerance", "expected"),
    [
        (FLAT, 0.01, Essential(0.9, 0.95)),
        (FLAT, 0.009, Essential(0.8, 0.9)),
        (FLAT, 0.0, Essential(0.5, 0.8)),
        (FLAT, 0.5, Essential(0.98, None)),
        (FLAT[:4], 0.01, Essential(0.9, None)),
        ([(0.0, 0.9), (0.5, 0.8), (0.9, 0.9)], 0.01, Essential(0.0, 0.5)),  # recovers too late
        ([(0.5, 0.8), (0.9, 0.9)], 0.01, Essential(None, 0.5)),
        (list(reversed(FLAT)), 0.01, Essential(0.9, 0.95)),
    ],
)
def test_essential_literally(
    points: Sequence[Point], tolerance: float, expected: Essential
) -> None:
    assert essential(points, dense=0.9, tolerance=tolerance) == expected


def test_exactly_the_tolerance_is_within() -> None:
    assert 0.7 < 0.8 - 0.1 < 0.7 + 1e-9  # floats would put it outside
    assert essential([(0.5, 0.7)], dense=0.8, tolerance=0.1) == Essential(0.5, None)
    assert essential([(0.5, 0.6999)], dense=0.8, tolerance=0.1) == Essential(None, 0.5)


def test_drops_literally() -> None:
    points = [(0.0, 1.0), (0.5, 0.75), (0.625, 0.75), (0.875, 0.5), (1.0, 0.0)]
    # slopes -0.5, 0, -1, -4
    assert drops_in_slope(points) == [(0.5, -0.5), (0.625, 1.0), (0.875, 3.0)]
    assert knee(points) == 0.875
    assert knee(points[:4]) == 0.625
    assert knee(points[:3]) is None


def test_spacing_counts() -> None:
    """A fall of 0.15 is steeper than the 0.2 before it, because it is over less sparsity."""
    points = [(0.0, 0.9), (0.5, 0.9), (0.9, 0.7), (0.95, 0.55)]
    assert [round(drop, 9) for _, drop in drops_in_slope(points)] == [0.5, 2.5]
    assert knee(points) == 0.9


def test_equal_drops_are_the_first() -> None:
    assert knee([(0.0, 1.0), (0.25, 1.0), (0.5, 0.75), (0.75, 0.25)]) == 0.25


@pytest.mark.parametrize(
    "points",
    [
        [],
        [(0.0, 0.9)],
        [(0.0, 0.9), (0.5, 0.1)],
        [(0.1 * i, 0.9 - 0.03 * i) for i in range(9)],  # straight, but for the rounding
        [(0.0, 0.9), (0.5, 0.6), (0.9, 0.5)],
    ],
)
def test_no_knee(points: Sequence[Point]) -> None:
    assert knee(points) is None


@given(
    bend=st.integers(1, 18),
    others=st.sets(st.integers(1, 19), max_size=10),
    steep=st.floats(0.1, 5.0),
)
def test_the_bend_of_two_straight_lines_is_found_at_any_spacing(
    bend: int, others: set[int], steep: float
) -> None:
    measured = sorted({0, bend, 20} | others)
    points = [(s / 20, 0.9 - steep * max(0, s - bend) / 20) for s in measured]
    assert knee(points) == bend / 20


POINTS = st.lists(
    st.tuples(st.integers(0, 99), st.floats(0, 1)), min_size=1, unique_by=lambda point: point[0]
)


@given(POINTS, st.floats(0, 0.5))
def test_essential_is_the_last_before_the_first_loss(
    drawn: list[tuple[int, float]], tolerance: float
) -> None:
    points = [(s / 100, accuracy) for s, accuracy in drawn]
    found = essential(points, dense=0.8, tolerance=tolerance)
    lost = [s for s, accuracy in points if accuracy < 0.8 - tolerance - 1e-9]
    assert found.beyond == min(lost, default=None)
    kept = [s for s, _ in points if not lost or s < min(lost)]
    assert found.within == max(kept, default=None)


def test_mistakes() -> None:
    for tolerance in (-0.01, float("inf"), float("nan")):
        with pytest.raises(ValueError, match="a distance to dense, 0 or more, got"):
            essential(FLAT, dense=0.9, tolerance=tolerance)
    with pytest.raises(ValueError, match="a point or more"):
        essential([], dense=0.9, tolerance=0.01)
    for function in (knee, drops_in_slope):
        with pytest.raises(ValueError, match=r"two points at sparsity 0\.5"):
            function([(0.5, 0.9), (0.0, 0.9), (0.5, 0.8)])


def curve(
    writer: Writer, method: str, points: Sequence[Point], *, experiment: str = "test"
) -> None:
    """Two seeds, one above and one below."""
    for seed, noise in enumerate((-0.002, 0.002)):
        rows = [(s, writer.ticket(f"{experiment}{method}{s}{seed}", a + noise, s))
                for s, a in points]  # fmt: skip
        writer.record(method, seed, rows, variant=method, experiment=experiment)


def lines_below(text: str, title: str) -> list[str]:
    return text.split(title)[1].split("\n\n")[0].splitlines()[1:]


TITLE = "essential sparsity (%), up to 1 % below dense, and knee (%)"


def test_a_method_with_a_dense_row_of_its_own(
    writer: Writer, capsys: pytest.CaptureFixture[str]
) -> None:
    curve(writer, "imp", FLAT)
    text = output(capsys, writer.store.root, "--knee")
    *_, row, note = lines_below(text, TITLE)
    assert row.split() == ["imp", "90.00", "itself", "6", "2", "90.00", "95.00", "95.00"]
    assert note.endswith("nothing is chosen by these numbers")
    rows = [line.split() for line in lines_below(text, "by how much their slope drops")[-6:]]
    assert rows[0] == ["imp", "0.00", "90.00", "+0.00"]
    assert rows[1] == ["imp", "50.00", "91.00", "+1.00", "+0.070"]
    assert rows[4] == ["imp", "95.00", "80.00", "-10.00", "+8.200"]
    assert rows[5] == ["imp", "98.00", "50.00", "-40.00"]


def test_the_tolerance_is_an_argument(writer: Writer, capsys: pytest.CaptureFixture[str]) -> None:
    curve(writer, "imp", FLAT)
    text = output(capsys, writer.store.root, "--knee", "0.15", "--format", "csv")
    (row,) = csv.DictReader(io.StringIO(text))
    assert row["method"] == "imp"
    assert float(row["dense_accuracy"]) == pytest.approx(0.9)
    assert [row[name] for name in ("tolerance", "essential_sparsity", "lost_at", "knee")] == [
        "0.15", "0.95", "0.98", "0.95",
    ]  # fmt: skip
    assert report.main([str(writer.store.root), "--knee", "2"]) == 2
    assert (
        "the tolerance is a share of 1 in [0, 1), 0.01 for 1 % accuracy, got 2.0"
        in capsys.readouterr().err
    )
    with pytest.raises(SystemExit):
        report.main(["--knee", str(writer.store.root)])
    assert "is not a number; paths go before --knee" in capsys.readouterr().err


def test_the_dense_rows_of_the_experiment_stand_in(
    writer: Writer, capsys: pytest.CaptureFixture[str]
) -> None:
    curve(writer, "rigl", FLAT[1:])
    curve(writer, "imp", [(0.0, 0.93), (0.9, 0.9)])
    curve(writer, "dense", [(0.0, 0.10)], experiment="another")
    text = output(capsys, writer.store.root, "--knee", "0.025")
    lines = [line.split() for line in lines_below(text, "below dense, and knee (%)")]
    (row,) = [line for line in lines if line[0] == "rigl"]
    assert row == ["rigl", "93.00", "imp", "6", "2", "50.00", "80.00", "95.00"]
    assert "cannot be determined for imp: fewer than 3 sparsities" in text
    curve(writer, "dense", [(0.0, 0.91)])
    text = output(capsys, writer.store.root, "--knee", "0.025")
    assert re.search(r"^rigl +91\.00 +test: dense", text, re.MULTILINE)


def test_what_cannot_be_determined_is_said(
    writer: Writer, capsys: pytest.CaptureFixture[str]
) -> None:
    curve(writer, "set", FLAT[1:])
    curve(writer, "snip", [(0.9, 0.8)])
    text = output(capsys, writer.store.root, "--knee")
    assert (
        "cannot be determined for set, snip: no row at sparsity 0, and no dense run in the "
        "experiment"
    ) in text.splitlines()


def test_what_lies_beyond_is_said(writer: Writer, capsys: pytest.CaptureFixture[str]) -> None:
    curve(writer, "imp", [(0.0, 0.9), (0.5, 0.895), (0.9, 0.9)])
    curve(writer, "lamp", [(0.0, 0.9), (0.5, 0.6), (0.9, 0.1)])
    lines = output(capsys, writer.store.root, "--knee").splitlines()
    assert "imp: the essential sparsity lies beyond the last measured, 90.00" in lines
    assert (
        "imp: the knee cannot be determined: the curve bends down nowhere before the last "
        "measured sparsity, 90.00"
    ) in lines
    assert "lamp: the essential sparsity lies below the first measured, 50.00" in lines
    assert any(line.startswith("imp ") and ">= 90.00" in line for line in lines)
