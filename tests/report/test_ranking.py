"""Methods at one sparsity each are drawn below each other, in the order of their accuracy."""

from __future__ import annotations

from pathlib import Path

import pytest

from sparsekit.report.collect import collect
from sparsekit.report.plots import dense_reference, plot_results
from sparsekit.report.ranking import draw_ranking_, names, ranked
from sparsekit.report.rows import Row, rows_of
from tests.report.writer import Writer

ACCURACIES = {"imp": 0.9, "random": 0.4, "rigl": 0.7}


def rows(writer: Writer) -> list[Row]:
    return rows_of(collect([writer.store.root]))


def ranking(writer: Writer) -> list[Row]:
    return ranked(rows(writer), dense_reference(rows(writer)))


def measure(writer: Writer, method: str, *points: tuple[float, float], seed: int = 0) -> None:
    """Points are (sparsity, accuracy)."""
    tickets = [(s, writer.ticket(f"{method}{s}{seed}", accuracy, s)) for s, accuracy in points]
    writer.record(method, seed, tickets, variant=method)


@pytest.fixture
def zoo(writer: Writer) -> Writer:
    for method, accuracy in ACCURACIES.items():
        measure(writer, method, (0.8, accuracy))
        measure(writer, method, (0.8, accuracy + 0.02), seed=1)
    measure(writer, "dense", (0.0, 0.95))
    return writer


def test_the_worst_comes_first_and_dense_is_no_method(zoo: Writer) -> None:
    assert [row.label for row in ranking(zoo)] == ["random", "rigl", "imp"]


def test_a_method_at_two_sparsities_is_a_curve(zoo: Writer) -> None:
    measure(zoo, "gmp", (0.5, 0.9), (0.8, 0.8))
    assert ranking(zoo) == []


def test_one_method_is_no_ranking(writer: Writer) -> None:
    measure(writer, "imp", (0.0, 0.9), (0.8, 0.8))
    assert ranking(writer) == []
    measure(writer, "snip", (0.8, 0.7))
    assert [row.label for row in ranking(writer)] == ["snip", "imp"]


def test_a_dense_network_that_would_be_in_no_picture_forbids_the_ranking(zoo: Writer) -> None:
    shared = zoo.ticket("dense0.00", 0.95, 0.0)
    zoo.record("one_shot", 0, [(0.0, shared), (0.8, zoo.ticket("o", 0.8, 0.8))], variant="one")
    assert "one_shot" in [row.label for row in ranking(zoo)]
    measure(zoo, "other", (0.0, 0.5), (0.8, 0.4))
    assert ranking(zoo) == []


def test_a_name_has_its_sparsity_where_they_differ(zoo: Writer) -> None:
    assert names(ranking(zoo)) == ["random", "rigl", "imp"]
    measure(zoo, "snip", (0.9, 0.1))
    assert names(ranking(zoo)) == ["snip 90.00", "random 80.00", "rigl 80.00", "imp 80.00"]


def test_every_method_is_a_line_of_its_own_at_its_mean(zoo: Writer) -> None:
    pyplot = pytest.importorskip("matplotlib.pyplot")
    figure, axes = pyplot.subplots()
    everything = rows(zoo)
    draw_ranking_(
        axes, ranked(everything, dense_reference(everything)), dense_reference(everything)
    )
    points, line = axes.get_lines()[0], axes.get_lines()[-1]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["random", "rigl", "imp"]
    assert points.get_ydata() == pytest.approx([0, 1, 2])
    assert points.get_xdata() == pytest.approx([41, 71, 91])
    assert line.get_xdata() == pytest.approx([95, 95])
    # bars of one standard deviation: of x and x + 2, that is the square root of 2
    bars = axes.containers[0].lines[2][0].get_segments()
    assert [bar[1][0] - bar[0][0] for bar in bars] == pytest.approx([2 * 2**0.5] * 3)
    pyplot.close(figure)


def test_the_picture_grows_with_the_methods(zoo: Writer, tmp_path: Path) -> None:
    from PIL import Image

    def height(name: str) -> int:
        plot_results(collect([zoo.store.root]), tmp_path / name)
        with Image.open(tmp_path / name) as image:
            return image.height

    for number in range(10):
        measure(zoo, f"method{number}", (0.8, 0.5 + number / 100))
    few = height("few.png")
    for number in range(10, 30):
        measure(zoo, f"method{number}", (0.8, 0.5 + number / 100))
    many = height("many.png")
    assert many - few > 20 * 20  # a line of small print needs 20 pixels
    measure(zoo, "gmp", (0.5, 0.9), (0.8, 0.8))
    assert height("curves.png") < many
