"""Methods at one sparsity each are drawn below each other, in the order of their accuracy."""

from __future__ import annotations

import pytest

from sparsekit.report.collect import collect
from sparsekit.report.figures.choosing import at_sparsity, dense_reference, names_of
from sparsekit.report.figures.quality import quality
from sparsekit.report.figures.ranking import ranked
from sparsekit.report.figures.style import styled
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


def test_one_method_at_one_sparsity_is_a_line_of_its_own(writer: Writer) -> None:
    measure(writer, "imp", (0.0, 0.9), (0.8, 0.8))
    assert [row.label for row in ranking(writer)] == ["imp"]
    measure(writer, "snip", (0.8, 0.7))
    assert [row.label for row in ranking(writer)] == ["snip", "imp"]


def test_a_dense_network_that_would_be_in_no_picture_forbids_the_ranking(zoo: Writer) -> None:
    shared = zoo.ticket("dense0.00", 0.95, 0.0)
    zoo.record("one_shot", 0, [(0.0, shared), (0.8, zoo.ticket("o", 0.8, 0.8))], variant="one")
    assert "one_shot" in [row.label for row in ranking(zoo)]
    measure(zoo, "other", (0.0, 0.5), (0.8, 0.4))
    assert ranking(zoo) == []


def test_a_name_has_its_sparsity_where_they_differ(zoo: Writer) -> None:
    assert names_of(ranking(zoo)) == ["random", "rigl", "imp"]
    measure(zoo, "snip", (0.9, 0.1))
    assert names_of(ranking(zoo)) == ["snip 90 %", "random 80 %", "rigl 80 %", "imp 80 %"]


def test_every_method_is_a_line_of_its_own_at_its_mean(zoo: Writer) -> None:
    with styled():
        axes = quality(rows(zoo)).axes[0]
    points, line = axes.get_lines()[0], axes.get_lines()[-1]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["random", "rigl", "imp"]
    assert points.get_ydata() == pytest.approx([0, 1, 2])
    assert points.get_xdata() == pytest.approx([41, 71, 91])
    assert line.get_xdata() == pytest.approx([95, 95])
    # bars of one standard deviation: of x and x + 2, that is the square root of 2
    bars = axes.containers[0].lines[2][0].get_segments()
    assert [bar[1][0] - bar[0][0] for bar in bars] == pytest.approx([2 * 2**0.5] * 3)
    seeds = [line for line in axes.get_lines() if line.get_marker() == "|"]
    assert [sorted(one.get_xdata()) for one in seeds][-1] == pytest.approx([90, 92])


def test_the_figure_grows_with_the_methods(zoo: Writer) -> None:
    def height() -> float:
        with styled():
            return float(quality(rows(zoo)).get_figheight())

    few = height()
    for number in range(20):
        measure(zoo, f"method{number}", (0.8, 0.5 + number / 100))
    assert height() - few > 20 * 8 / 72  # a line of small print needs 8 points


def test_methods_that_end_near_a_sparsity_are_compared_there(writer: Writer) -> None:
    measure(writer, "one_shot", (0.8, 0.9), (0.95, 0.8), (0.98, 0.6))
    measure(writer, "imp", (0.784, 0.9), (0.953, 0.9))
    measure(writer, "snip", (0.5, 0.9))
    chosen = at_sparsity(rows(writer))
    assert [(row.label, row.sparsity) for row in chosen] == [("imp", 0.953), ("one_shot", 0.95)]
    assert [row.sparsity for row in at_sparsity(rows(writer), 0.8)] == [0.784, 0.8]
    with pytest.raises(ValueError, match=r"near a sparsity of 0.2; there are 0.5, 0.784"):
        at_sparsity(rows(writer), 0.2)
