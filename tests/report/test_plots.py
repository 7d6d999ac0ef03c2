"""The figure of quality against sparsity: what is drawn as what, and what can be told apart."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from sparsekit.report.collect import collect
from sparsekit.report.figures.choosing import dense_reference
from sparsekit.report.figures.quality import quality
from sparsekit.report.figures.style import look, styled
from sparsekit.report.plots import plot_each, plot_results
from sparsekit.report.rows import rows_of
from tests.report.writer import Writer, output, three_seeds


def figure_of(writer: Writer) -> Any:
    with styled():
        figure = quality(rows_of(collect([writer.store.root])))
        figure.draw_without_rendering()
    return figure


def curves(axes: Any) -> dict[str, Any]:
    named = {line.get_label(): line for line in axes.lines}
    named |= {container.get_label(): container.lines[0] for container in axes.containers}
    return {name: line for name, line in named.items() if not name.startswith("_")}


def texts(axes: Any) -> dict[str, Any]:
    return {text.get_text(): text for text in axes.texts}


def methods(writer: Writer, num: int) -> None:
    for number in range(num):
        rows = [(s, writer.ticket(f"{number}{s}", 0.9 - 0.001 * number, s)) for s in (0.5, 0.9)]
        writer.record(f"method{number:02}", 0, rows, variant=f"v{number}")


def test_the_picture_has_content(
    writer: Writer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    three_seeds(writer)
    path = tmp_path / "pictures" / "one.png"
    output(capsys, writer.store.root, "--plot", path)
    with Image.open(path) as image:
        assert image.format == "PNG"
        assert image.width == 1020  # a column of 3.4 inches at 300 dots
        assert len(image.convert("RGB").getcolors(maxcolors=1 << 24) or []) > 10


def test_a_curve_goes_through_means_with_a_band_of_one_deviation(writer: Writer) -> None:
    for sparsity, accuracies in {0.5: (0.8, 0.9), 0.9: (0.6, 0.8)}.items():
        for seed, accuracy in enumerate(accuracies):
            ticket = writer.ticket(f"{sparsity}{seed}", accuracy, sparsity)
            writer.record("imp", seed, [(sparsity, ticket)], target=sparsity)
    axes = figure_of(writer).axes[0]
    line = curves(axes)["imp"]
    assert list(line.get_xdata()) == [50, 90]
    assert list(line.get_ydata()) == pytest.approx([85, 70])
    (band,) = axes.collections
    heights = band.get_paths()[0].vertices[:, 1]
    assert (min(heights), max(heights)) == pytest.approx((70 - 200**0.5, 85 + 50**0.5))
    assert [tick.get_text() for tick in axes.get_xticklabels()] == ["50", "70", "80", "90"]


def test_names_stand_beside_the_ends_of_their_curves_without_overlap(writer: Writer) -> None:
    methods(writer, 8)
    writer.record("dense", 0, [(0.0, writer.ticket("dense", 0.93, 0.0))], variant="dense")
    figure = figure_of(writer)
    names = texts(figure.axes[0])
    assert set(names) == {"dense", *(f"method{number:02}" for number in range(8))}
    boxes = [text.get_window_extent() for text in names.values()]
    assert not any(one.overlaps(other) for one, other in itertools.combinations(boxes, 2))
    assert min(box.x0 for box in boxes) > figure.axes[0].get_window_extent().x1
    assert max(box.x1 for box in boxes) <= figure.bbox.x1
    heights = [names[f"method{number:02}"].get_window_extent().y0 for number in range(8)]
    assert heights == sorted(heights, reverse=True)


def test_many_curves_have_a_legend_within_the_figure(writer: Writer) -> None:
    methods(writer, 24)
    figure = figure_of(writer)
    (legend,) = figure.legends
    assert len(legend.get_texts()) == 24
    assert not texts(figure.axes[0])
    box = legend.get_window_extent()
    assert box.y1 < figure.axes[0].get_window_extent().y0
    assert (box.x0 >= 0, box.y0 >= 0, box.x1 <= figure.bbox.x1) == (True, True, True)


def test_looks_can_be_told_apart_without_colour() -> None:
    looks = [look(number) for number in range(28)]
    assert len({(one.colour, str(one.dashes)) for one in looks}) == 28
    assert len({(one.marker, str(one.dashes)) for one in looks}) == 28
    for one, other in itertools.pairwise(looks):
        assert one.colour != other.colour
        assert one.marker != other.marker
        assert one.dashes != other.dashes


def test_one_sparsity_is_a_point_and_one_dense_network_a_line(writer: Writer) -> None:
    methods(writer, 2)
    writer.record("dense", 0, [(0.0, writer.ticket("dense", 0.93, 0.0))], variant="dense")
    writer.record("single", 0, [(0.9, writer.ticket("single", 0.5, 0.9))], variant="single")
    drawn = curves(figure_of(writer).axes[0])
    assert drawn["single"].get_linestyle() == "None"
    assert drawn["method00"].get_linestyle() == "-"
    assert list(drawn["dense"].get_ydata()) == pytest.approx([93.0, 93.0])


def test_several_dense_networks_are_no_line(writer: Writer) -> None:
    three_seeds(writer)
    rows = rows_of(collect([writer.store.root]))
    assert dense_reference(rows) == rows[0]
    other = writer.ticket("other", 0.5, 0.0)
    writer.record("swamp", 0, [(0.0, other), (0.8, writer.ticket("s", 0.4, 0.8))])
    assert dense_reference(rows_of(collect([writer.store.root]))) is None
    writer.record("dense", 0, [(0.0, writer.ticket("dense0", 0.9, 0.0))])
    reference = dense_reference(rows_of(collect([writer.store.root])))
    assert reference is not None
    assert (reference.label, len(reference.results)) == ("dense", 1)


def test_a_dense_network_by_itself_is_drawn(writer: Writer, tmp_path: Path) -> None:
    writer.record("dense", 0, [(0.0, writer.ticket("dense", 0.9, 0.0))])
    plot_results(collect([writer.store.root]), tmp_path / "alone.png")
    assert (tmp_path / "alone.png").stat().st_size > 0


def test_dense_networks_alone_and_outputs_that_are_no_numbers(
    writer: Writer, tmp_path: Path
) -> None:
    writer.record("dense", 0, [(0.0, writer.ticket("dense0", 0.9, 0.0))])
    writer.record("dense", 1, [(0.0, writer.ticket("dense1", 0.94, 0.0))])
    assert list(figure_of(writer).axes[0].lines[0].get_xdata()) == pytest.approx([92.0])
    broken = {"test_accuracy": None}
    rows = [(s, writer.ticket(f"broken{s}", 0.0, s, more=broken)) for s in (0.5, 0.9)]
    record = writer.record("imp", 0, rows, variant="broken")
    assert plot_each(collect([record]), tmp_path) == []


def test_a_picture_that_shows_the_results_already_is_not_drawn_again(
    writer: Writer, tmp_path: Path
) -> None:
    writer.record("dense", 0, [(0.0, writer.ticket("dense", 0.9, 0.0))])
    picture = tmp_path / "accuracy.png"

    def drawn() -> int:
        assert plot_each(collect([writer.store.root]), tmp_path) == [picture]
        return picture.stat().st_mtime_ns

    first = drawn()
    assert drawn() == first
    writer.record("imp", 0, [(0.9, writer.ticket("imp", 0.8, 0.9))])
    second = drawn()
    assert second != first
    picture.write_bytes(picture.read_bytes()[:100])
    third = drawn()
    assert third != second
    picture.unlink()
    picture.symlink_to(tmp_path / "gone.png")
    assert drawn() != third
    assert not picture.is_symlink()
