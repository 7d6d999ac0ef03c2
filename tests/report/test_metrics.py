"""Results of other tasks: their own metric, unit and direction everywhere a number is shown."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import pytest

from sparsekit.report import __main__ as report
from sparsekit.report.collect import collect
from sparsekit.report.figures.choosing import dense_reference
from sparsekit.report.figures.quality import quality
from sparsekit.report.figures.ranking import ranked
from sparsekit.report.figures.style import styled
from sparsekit.report.plots import plot_each, plot_results
from sparsekit.report.rows import by_metric, rows_of
from sparsekit.report.tables import comma_separated, terminal
from sparsekit.tasks.metric import Metric
from tests.report.writer import Writer, output, three_seeds

PERPLEXITY = Metric("perplexity", "min")
R2 = Metric("r2", "max")
ERROR = Metric("error", "min", "percent")
CURVE = [(0.0, 10.0), (0.5, 9.5), (0.8, 10.5), (0.9, 11.5), (0.95, 20.0)]


def language(writer: Writer, method: str = "imp", *, worse: float = 0.0) -> None:
    """Two seeds, one above and one below the curve."""
    for seed, noise in enumerate((-0.25, 0.25)):
        rows = [
            (s, writer.measured(f"{method}{s}{seed}", PERPLEXITY, value + worse + noise, s,
                                test_bits_per_byte=value / 10))
            for s, value in CURVE
        ]  # fmt: skip
        writer.record(method, seed, rows, experiment="text", variant=method)


def test_the_table_has_the_metric_its_direction_and_its_digits(writer: Writer) -> None:
    language(writer)
    lines = terminal(collect([writer.store.root])).splitlines()
    rule = next(number for number, line in enumerate(lines) if line.startswith("---"))
    heading = " ".join(" ".join(lines[:rule]).split())
    assert "perplexity" in heading
    assert "accuracy" not in heading
    assert "better)" in heading
    assert " ".join(lines[rule + 1].split()).startswith("imp 0.00 10.0000 +- 0.3536 2 1,000")


def test_the_csv_names_the_metric_and_has_all_others(writer: Writer) -> None:
    language(writer)
    row, *_ = csv.DictReader(io.StringIO(comma_separated(collect([writer.store.root]))))
    assert float(row["test_perplexity_mean"]) == 10.0
    assert float(row["val_perplexity_mean"]) == 10.5
    assert float(row["test_bits_per_byte_mean"]) == 1.0
    assert (row["metric"], row["n"]) == ("perplexity", "2")
    assert not [name for name in row if "accuracy" in name]


def test_columns_of_accuracy_are_where_they_were(writer: Writer) -> None:
    three_seeds(writer)
    heading = comma_separated(collect([writer.store.root])).splitlines()[0].split(",")
    names = (
        "test_accuracy", "val_accuracy", "test_loss", "sparsity_prunable", "sparsity_all",
        "num_parameters_kept", "flops", "average_num_parameters", "average_num_kept", "itop",
        "itop_sparse", "seconds", "total_seconds", "training_flops", "training_flops_relative",
    )  # fmt: skip
    expected = [f"{name}_{kind}" for name in names for kind in ("mean", "std")]
    assert heading == ["method", "sparsity", "n", *expected, "metric"]


def test_all_metrics_are_a_section(writer: Writer, capsys: pytest.CaptureFixture[str]) -> None:
    language(writer)
    text = output(capsys, writer.store.root, "--metrics")
    lines = text.split("all metrics\n")[1].splitlines()
    assert lines[0].split() == [
        "method", "sparsity", "n", "test_perplexity", "val_perplexity", "test_bits_per_byte",
        "test_loss",
    ]  # fmt: skip
    assert lines[2].split()[3:6] == ["10.0000", "+-", "0.3536"]


def test_where_less_is_better_essential_sparsity_is_above_dense(
    writer: Writer, capsys: pytest.CaptureFixture[str]
) -> None:
    language(writer)
    text = output(capsys, writer.store.root, "--knee", "1")
    assert "essential sparsity (%), up to 1 perplexity above dense, and knee (%)" in text
    table = text.split("above dense, and knee (%)\n")[1]
    row = next(line for line in table.splitlines() if line.startswith("imp ")).split()
    assert row == ["imp", "10.0000", "itself", "5", "2", "80.00", "90.00", "90.00"]
    points = text.split("slope of their quality drops\n")[1]
    last = [line.split() for line in points.splitlines() if line.startswith("imp ")][-1]
    assert last == ["imp", "95.00", "20.0000", "+10.0000"]
    rows = csv.DictReader(
        io.StringIO(output(capsys, writer.store.root, "--knee", "1", "--format", "csv"))
    )
    assert float(next(rows)["dense_perplexity"]) == 10.0


def test_the_knee_is_that_of_the_same_curve_upside_down(writer: Writer, tmp_path: Path) -> None:
    from sparsekit.report.essential import essential_sparsities

    language(writer)
    other = Writer(tmp_path / "other")
    for seed in (0, 1):
        rows = [(s, other.measured(f"{s}{seed}", R2, -value, s)) for s, value in CURVE]
        other.record("imp", seed, rows)
    found = [
        essential_sparsities(rows_of(collect([w.store.root])), tolerance=1.0).values[0][6:]
        for w in (writer, other)
    ]
    assert found[0] == found[1] == [0.8, 0.9, 0.9, 0.95]


def test_a_percentage_of_which_less_is_better(
    writer: Writer, capsys: pytest.CaptureFixture[str]
) -> None:
    for seed in (0, 1):
        rows = [(s, writer.measured(f"{s}{seed}", ERROR, e, s)) for s, e in
                [(0.0, 0.02), (0.5, 0.025), (0.9, 0.1)]]  # fmt: skip
        writer.record("imp", seed, rows)
    text = output(capsys, writer.store.root, "--knee", "0.01")
    assert "up to 1 % above dense" in text
    assert "2.50 +- 0.00" in text
    assert report.main([str(writer.store.root), "--knee", "1"]) == 2
    assert "0.01 for 1 % error, got 1.0" in capsys.readouterr().err


def test_the_best_is_at_the_top_of_a_ranking(writer: Writer) -> None:
    for method, value in {"good": 5.0, "bad": 50.0, "middle": 7.0}.items():
        writer.record(method, 0, [(0.9, writer.measured(method, PERPLEXITY, value, 0.9))])
    rows = rows_of(collect([writer.store.root]))
    assert [row.label for row in ranked(rows, dense_reference(rows))] == ["bad", "middle", "good"]


def test_axes_say_metric_direction_and_seeds(writer: Writer) -> None:
    language(writer)
    with styled():
        figure = quality(rows_of(collect([writer.store.root])))
    assert figure.axes[0].get_ylabel() == "test perplexity (lower is better)"
    (legend,) = figure.legends
    assert legend.get_title().get_text() == "mean ± standard deviation, n\u00a0=\u00a02\u00a0seeds"
    (curve,) = [line for line in figure.axes[0].lines if line.get_label() == "imp"]
    assert list(curve.get_ydata()) == [value for _, value in CURVE]


def test_two_metrics_never_share_a_table_or_an_axis(
    writer: Writer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    three_seeds(writer)
    language(writer)
    text = output(capsys, writer.store.root)
    first, second = text.split("\n\n")
    assert first.startswith("test accuracy (%)\n")
    assert second.startswith("test perplexity (lower is better)\n")
    assert "83.00 +- 3.61" in first
    assert "10.0000 +- 0.3536" in second
    results = collect([writer.store.root])
    with pytest.raises(ValueError, match=r"several primary metrics \(accuracy, perplexity\)"):
        plot_results(results, tmp_path / "a.png")
    assert report.main([str(writer.store.root), "--plot", str(tmp_path / "a.png")]) == 2
    assert "several primary metrics" in capsys.readouterr().err
    assert [path.name for path in plot_each(results, tmp_path)] == [
        "accuracy.png", "perplexity.png",
    ]  # fmt: skip
    assert {path.name for path in tmp_path.glob("*.png")} == {"accuracy.png", "perplexity.png"}


def test_two_metrics_share_a_csv_but_no_column(
    writer: Writer, capsys: pytest.CaptureFixture[str]
) -> None:
    three_seeds(writer)
    language(writer)
    rows = list(csv.DictReader(io.StringIO(comma_separated(collect([writer.store.root])))))
    told = {(row["metric"], row["test_accuracy_mean"] != "", row["test_perplexity_mean"] != "")
            for row in rows}  # fmt: skip
    assert told == {("accuracy", True, False), ("perplexity", False, True)}
    assert report.main([str(writer.store.root), "--knee", "--format", "csv"]) == 2
    assert "holds one metric, but the results have accuracy, perplexity" in capsys.readouterr().err


def test_a_network_that_diverged_is_shown_and_comes_last(writer: Writer) -> None:
    for seed, value in enumerate((None, 2.0)):
        ticket = writer.ticket(f"x{seed}", 0.5, 0.9, more={"test_accuracy": value})
        writer.record("diverged", seed, [(0.9, ticket)])
    writer.record("snip", 0, [(0.9, writer.ticket("s", 0.1, 0.9))])
    results = collect([writer.store.root])
    assert " nan " in terminal(results)
    rows = rows_of(results)
    assert [row.label for row in ranked(rows, None)] == ["diverged", "snip"]


def test_stores_that_do_not_say_it_measured_accuracy(writer: Writer) -> None:
    three_seeds(writer)
    (metric,) = by_metric(rows_of(collect([writer.store.root])))
    assert (metric.name, metric.direction, metric.style) == ("accuracy", "max", "percent")
