"""The picture: what is drawn as what, and that many methods can be told apart."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path

import matplotlib
import pytest
from PIL import Image

from sparsekit.report.collect import collect
from sparsekit.report.plots import dense_reference, plot_results
from sparsekit.report.rows import rows_of
from tests.report.writer import Writer, output, three_seeds

matplotlib.use("Agg")
from matplotlib import pyplot
from matplotlib.axes import Axes


def colours(path: Path) -> int:
    with Image.open(path) as image:
        assert image.format == "PNG"
        assert min(image.size) > 300
        return len(image.convert("RGB").getcolors(maxcolors=1 << 24) or [])


def test_the_picture_has_content(
    writer: Writer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    three_seeds(writer)
    output(capsys, writer.store.root, "--plot", tmp_path / "pictures" / "one.png")
    writer.record("random", 0, [(0.8, writer.ticket("r", 0.4, 0.8))], variant="r")
    writer.record("dense", 0, [(0.0, writer.ticket("d", 0.9, 0.0))], variant="d")
    output(capsys, writer.store.root, "--plot", tmp_path / "two.png")
    one, two = tmp_path / "pictures" / "one.png", tmp_path / "two.png"
    assert colours(two) > colours(one) > 10
    assert one.read_bytes() != two.read_bytes()


@pytest.fixture
def axes(writer: Writer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Axes]:
    """A picture of 24 curves, of one method at one sparsity, and of one dense network."""
    writer.record("dense", 0, [(0.0, writer.ticket("dense", 0.93, 0.0))], variant="dense")
    for number in range(24):
        rows = [(s, writer.ticket(f"{number}{s}", 0.9 - 0.01 * number, s)) for s in (0.5, 0.9)]
        writer.record(f"method{number:02}", 0, rows, variant=f"v{number}")
    writer.record("single", 0, [(0.9, writer.ticket("single", 0.5, 0.9))], variant="single")
    monkeypatch.setattr(pyplot, "close", lambda figure: None)
    plot_results(collect([writer.store.root]), tmp_path / "many.png")
    yield pyplot.gcf().axes[0]
    monkeypatch.undo()
    pyplot.close("all")


def drawn(axes: Axes) -> dict[str, matplotlib.lines.Line2D]:
    return {container.get_label(): container.lines[0] for container in axes.containers}


def test_many_methods_can_be_told_apart(axes: Axes) -> None:
    looks = {(line.get_color(), line.get_linestyle(), line.get_marker())
             for line in drawn(axes).values()}  # fmt: skip
    assert len(drawn(axes)) == len(looks) == 25
    lines = [line for line in drawn(axes).values() if line.get_linestyle() != "None"]
    assert len({(line.get_color(), line.get_linestyle()) for line in lines}) == 24
    markers = [line.get_marker() for line in drawn(axes).values()]
    assert all(first != second for first, second in itertools.pairwise(markers))


def test_a_long_legend_stands_beside_the_axes_and_within_the_picture(
    axes: Axes, tmp_path: Path
) -> None:
    legend = axes.get_legend()
    assert legend is not None
    assert legend._ncols == 2
    assert len(legend.get_texts()) == 26
    box, frame = legend.get_window_extent(), axes.get_window_extent()
    assert box.x0 > frame.x1
    with Image.open(tmp_path / "many.png") as image:
        assert image.width * axes.figure.dpi / 130 > box.x1 - frame.x0
        assert image.height * axes.figure.dpi / 130 > box.height


def test_one_sparsity_is_a_point_and_one_dense_network_a_line(axes: Axes) -> None:
    assert drawn(axes)["single"].get_linestyle() == "None"
    assert drawn(axes)["method00"].get_linestyle() == "-"
    assert "dense" not in drawn(axes)
    (line,) = [line for line in axes.lines if line.get_label() == "dense"]
    assert list(line.get_ydata()) == pytest.approx([93.0, 93.0])


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
