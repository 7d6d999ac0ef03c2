"""Figures for papers: their files, and the numbers in them."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sparsekit.report import __main__ as report
from sparsekit.report.collect import collect
from sparsekit.report.figures.catalogue import FIGURES, draw_figures
from sparsekit.report.figures.cost import Point, front
from sparsekit.report.figures.masks import overlap
from sparsekit.report.figures.scales import set_sparsity_
from sparsekit.report.figures.style import styled
from sparsekit.report.rows import Row, rows_of
from sparsekit.store.masks import read_masks
from sparsekit.store.sealing import CorruptResult
from tests.report.writer import Writer, output

SPLITS = {"layer": np.array([[1, 0, 0, 0], [1, 1, 0, 0]], dtype=bool)}
SHIFTED = {"layer": np.array([[1, 0, 0, 0], [0, 0, 1, 1]], dtype=bool)}
BINS = [
    {"confidence": 0.05, "accuracy": 0.0, "count": 1},
    {"confidence": 0.5, "accuracy": 0.6, "count": 80},
    {"confidence": 1.0, "accuracy": 0.9, "count": 120},
]
CALIBRATION = {"num_bins": 4, "bins": BINS, "ece": 0.1}


def store_of_everything(writer: Writer) -> None:
    for seed in (0, 1):
        dense = writer.ticket(f"dense{seed}", 0.95, 0.0, history=history(0.9))
        writer.record("dense", seed, [(0.0, dense)], variant="dense")
        for method, mask, quality in (("imp", SPLITS, 0.9), ("random", SHIFTED, 0.7)):
            ticket = writer.ticket(
                f"{method}{seed}",
                quality + 0.02 * seed,
                0.625,
                more={"training_flops": 1e9 * quality},
                masks=mask,
                history=history(quality + 0.02 * seed),
            )
            pair = {"kind": "particles", "test_barrier": 0.01 * (seed + 1)}
            studies = {
                "barriers": writer.study(f"b{method}{seed}", {"pairs": [pair]}),
                "calibration": writer.study(f"c{method}{seed}", CALIBRATION),
            }
            writer.record(method, seed, [(0.625, ticket)], variant=method, studies=studies)


def history(last: float) -> list[dict[str, float]]:
    return [{"epoch": 1.0, "val_accuracy": last / 2}, {"epoch": 2.0, "val_accuracy": last}]


@pytest.fixture
def rows(writer: Writer) -> list[Row]:
    store_of_everything(writer)
    return rows_of(collect([writer.store.root], studies=None))


def axes_of(name: str, rows: list[Row]) -> Any:
    with styled():
        return FIGURES[name](rows, None).axes[0]


def curve(axes: Any, label: str) -> tuple[list[float], list[float]]:
    (line,) = [one for one in axes.lines if one.get_label() == label]
    return list(line.get_xdata()), list(line.get_ydata())


def test_every_figure_is_written_as_wide_as_a_column(
    writer: Writer, rows: list[Row], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    more = ("--at", "0.6", "--file-types", "pdf,svg")
    text = output(capsys, writer.store.root, "--figures", tmp_path / "f", *more)
    assert {path.stem for path in (tmp_path / "f").iterdir()} == set(FIGURES)
    for name in FIGURES:
        assert f"figure: {(tmp_path / 'f').resolve() / name}.pdf" in text
        drawing = (tmp_path / "f" / f"{name}.svg").read_text(encoding="utf-8")
        assert re.search(r'<svg [^>]*width="244\.8pt"', drawing)
        sizes = re.findall(r"font(?:-size)?: ([\d.]+)(?:px)?", drawing)
        assert min(map(float, sizes)) >= 7  # which also says that text is text
        printed = (tmp_path / "f" / f"{name}.pdf").read_bytes()
        assert b"/CIDFontType2" in printed  # TrueType, not shapes
    draw_figures(rows, tmp_path / "again", ["quality"], ["pdf", "svg"], sparsity=0.6)
    for name in ("quality.pdf", "quality.svg"):
        assert (tmp_path / "again" / name).read_bytes() == (tmp_path / "f" / name).read_bytes()


def test_what_results_do_not_know_is_told_or_refused(
    writer: Writer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    writer.record("imp", 0, [(0.8, writer.ticket("imp", 0.9, 0.8))])
    store, folder = str(writer.store.root), str(tmp_path / "f")
    text = output(capsys, store, "--figures", folder, "--file-types", "svg")
    drawn = {path.name for path in (tmp_path / "f").iterdir()}
    assert drawn == {"quality.svg", "pareto.svg", "layer_density.svg"}
    assert "no figure barriers: no result has the study `barriers`" in text
    assert report.main([store, "--figures", folder, "--figure", "training_flops"]) == 2
    assert "error: training_flops: no result here knows its" in capsys.readouterr().err
    assert report.main([store, "--figure", "quality"]) == 2
    assert "--figure and --at need --figures FOLDER" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("option", "value", "told"),
    [
        ("--figure", "qualty", "figure 'qualty': must be one or several of quality, training_flo"),
        ("--file-types", "jpg", "file type 'jpg': must be one or several of pdf, svg, png"),
        ("--at", "90", "90 is not a sparsity between 0 and 1; 0.9 stands for 90 %"),
    ],
)
def test_a_mistyped_option_is_told_with_what_is_valid(
    option: str, value: str, told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit, match="2"):
        report.main(["runs", "--figures", "f", option, value])
    assert told in capsys.readouterr().err


def test_a_method_at_several_costs_is_a_curve_and_the_front_is_ringed(rows: list[Row]) -> None:
    axes = axes_of("training_flops", rows)
    assert axes.get_xscale() == "log"
    rings = [line for line in axes.lines if line.get_markersize() == 7]
    assert list(rings[0].get_xdata()) == pytest.approx([0.7e9, 0.9e9])
    assert list(rings[0].get_ydata()) == pytest.approx([71, 91])


def test_a_point_that_is_beaten_in_both_is_not_on_the_front(rows: list[Row]) -> None:
    points = [Point(cost, quality, rows[0]) for cost, quality in ((1, 5), (2, 4), (3, 6), (3, 7))]
    assert [(one.cost, one.quality) for one in front(points)] == [(1, 5), (3, 7)]


def test_learning_curves_are_means_over_seeds_beside_those_of_dense(rows: list[Row]) -> None:
    axes = axes_of("learning_curves", rows)
    assert curve(axes, "imp") == ([1.0, 2.0], pytest.approx([45.5, 91.0]))
    assert curve(axes, "dense") == ([1.0, 2.0], pytest.approx([45.0, 90.0]))
    assert axes.get_ylabel() == "validation accuracy (%)"


def test_barriers_are_in_percentage_points(rows: list[Row]) -> None:
    (container, _) = axes_of("barriers", rows).containers
    assert container.lines[0].get_ydata() == pytest.approx([1.5])
    assert container.get_label() == "imp, between particles"


def test_reliability_leaves_out_bins_of_few_examples(rows: list[Row]) -> None:
    xs, ys = curve(axes_of("reliability", rows), "imp (ECE 10.0 %)")
    assert (xs, ys) == (pytest.approx([50, 100]), pytest.approx([60, 90]))


def test_overlaps_are_those_of_the_stored_masks(rows: list[Row]) -> None:
    texts = [text.get_text() for text in axes_of("mask_overlap", rows).texts]
    assert texts == ["1.00", "0.20", "0.20", "1.00"]  # of 5 weights that either keeps, 1 is in both
    assert overlap(SPLITS, {"layer": SPLITS["layer"].T}) is None


def test_fan_in_counts_the_weights_of_every_neuron(rows: list[Row]) -> None:
    axes = axes_of("fan_in", rows)
    steps = axes.patches[0].get_data()
    assert list(steps.edges) == [-0.5, 0.5, 1.5, 2.5]
    assert list(steps.values) == [0, 50, 50]


def test_layers_stand_in_the_order_of_their_numbers(writer: Writer) -> None:
    layers = {name: {"size": 100, "kept": kept} for name, kept in (("10.a", 0), ("2.b.weight", 5))}
    writer.record("imp", 0, [(0.9, writer.ticket("imp", 0.9, 0.9, more={"layers": layers}))])
    axes = axes_of("layer_density", rows_of(collect([writer.store.root])))
    assert [label.get_text() for label in axes.get_xticklabels()] == ["2.b", "10.a"]
    (container,) = axes.containers
    # what is empty has no place on a logarithmic axis but its edge
    assert container.lines[0].get_ydata() == pytest.approx([5, axes.get_ylim()[0]])


def test_masks_are_read_without_torch_and_refused_where_they_are_none(writer: Writer) -> None:
    key = writer.ticket("good", 0.9, 0.5, masks=SPLITS)
    assert read_masks(writer.store, key)["layer"].tolist() == SPLITS["layer"].tolist()
    wrong = writer.ticket("wrong", 0.9, 0.5, masks={"layer": np.ones(3)})
    with pytest.raises(CorruptResult, match="mask of 'layer' is float64"):
        read_masks(writer.store, wrong)


def test_a_sparsity_a_hair_above_a_round_one_has_its_number_on_the_axis() -> None:
    from matplotlib.figure import Figure

    with styled():
        axes = Figure().subplots()
        set_sparsity_(axes, [80.005, 95.0])
    assert list(axes.get_xticks()) == [80, 85, 90, 95]
