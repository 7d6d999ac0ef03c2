"""What layers keep, as neurons and fan-in, and what was ever active."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from sparsekit.report.notes import ONE_SEED, SPREAD
from sparsekit.report.records import plain_rows
from sparsekit.report.storage import UNKNOWN
from sparsekit.store.identity import Stage
from sparsekit.system.files import write_json
from tests.report.writer import Writer, output, three_seeds


def layer(size: int, kept: int, neurons: int, active: int, fan_in: Sequence[int]) -> dict[str, Any]:
    return {"size": size, "kept": kept, "neurons": neurons, "active_neurons": active,
            "fan_in": list(fan_in)}  # fmt: skip


FULL = {"fc": layer(1200, 1200, 30, 30, (40, 40)), "head": layer(300, 300, 10, 10, (30, 30))}
SEEDS = (
    {"fc": layer(1200, 120, 30, 20, (6, 6)), "head": layer(300, 30, 10, 10, (1, 9))},
    {"fc": layer(1200, 60, 30, 15, (4, 4)), "head": layer(300, 60, 10, 10, (2, 9))},
)


@pytest.fixture
def structured(writer: Writer) -> Writer:
    for seed, layers in enumerate(SEEDS):
        dense = writer.ticket(
            "d", 0.9, 0.0, more={"layers": FULL, "itop": 1.0, "itop_sparse": None}
        )
        rates = {"itop": 0.5 + 0.1 * seed, "itop_sparse": 0.25}
        pruned = writer.ticket(f"p{seed}", 0.8, 0.9, more={"layers": layers, **rates})
        writer.record("srigl", seed, [(0.0, dense), (0.9, pruned)])
    return writer


def section(text: str, title: str) -> list[list[str]]:
    """The cells of a table below a title, split at blanks."""
    lines = text.split(f"{title}\n")[1].split("\n\n")[0].splitlines()
    rule = next(number for number, line in enumerate(lines) if line.startswith("---"))
    return [line.split() for line in lines[rule + 1 :]]


def test_layers_show_what_each_keeps(writer: Writer, capsys: pytest.CaptureFixture[str]) -> None:
    three_seeds(writer)
    lines = output(capsys, writer.store.root, "--layers").splitlines()
    start = lines.index("kept of each layer (%)")
    assert lines[start + 1].split() == ["layer", "weights", "imp", "imp"]
    assert lines[start + 2].split() == ["0.00", "80.00"]
    assert lines[start + 4].split() == ["fc.weight", "1,000", "86.00", "66.00"]
    assert not any("structure" in line for line in lines)


def test_structure_is_a_table_for_each_row(
    structured: Writer, capsys: pytest.CaptureFixture[str]
) -> None:
    text = output(capsys, structured.store.root, "--structure")
    assert section(text, "structure of srigl at 0.00 % (n = 1)") == [
        ["fc", "1,200", "100.00", "30/30", "40"],
        ["head", "300", "100.00", "10/10", "30"],
    ]
    assert section(text, "structure of srigl at 90.00 % (n = 2)") == [
        ["fc", "1,200", "7.50", "17.5/30", "5"],
        ["head", "300", "15.00", "10/10", "1.5..9"],
    ]
    assert "kept of each layer" not in text


def test_exploration_is_shown_with_the_structure(
    structured: Writer, capsys: pytest.CaptureFixture[str]
) -> None:
    text = output(capsys, structured.store.root, "--structure")
    assert section(text, "weights ever active (ITOP rate, %)") == [
        ["srigl", "0.00", "100.00", "1"],
        ["srigl", "90.00", "55.00", "+-", "7.07", "25.00", "+-", "0.00", "2"],
        f"{SPREAD}; {ONE_SEED}".split(),
    ]


def test_layers_show_the_structure_of_rows_with_inactive_neurons(
    structured: Writer, capsys: pytest.CaptureFixture[str]
) -> None:
    text = output(capsys, structured.store.root, "--layers")
    assert section(text, "kept of each layer (%)")[0] == ["fc", "1,200", "100.00", "7.50"]
    assert "structure of srigl at 90.00 %" in text
    assert "structure of srigl at 0.00 %" not in text
    assert "ITOP" not in text


def test_older_stores_have_empty_cells(writer: Writer, capsys: pytest.CaptureFixture[str]) -> None:
    three_seeds(writer)
    text = output(capsys, writer.store.root, "--structure")
    assert section(text, "structure of imp at 80.00 % (n = 3)") == [["fc.weight", "1,000", "66.00"]]
    assert text.endswith("no ticket here knows what was active while it was trained\n")


def test_layers_for_machines(structured: Writer, capsys: pytest.CaptureFixture[str]) -> None:
    text = output(capsys, structured.store.root, "--layers", "--format", "csv")
    rows = {(r["sparsity"], r["layer"]): r for r in csv.DictReader(io.StringIO(text))}
    assert set(rows) == {(s, name) for s in ("0.0", "0.9") for name in ("fc", "head")}
    assert rows["0.9", "head"] == {
        "method": "srigl", "sparsity": "0.9", "n": "2", "layer": "head", "size": "300.0",
        "kept": "45.0", "neurons": "10.0", "active_neurons": "10.0", "fan_in_min": "1.5",
        "fan_in_max": "9.0", "dead_neurons": "", "ablated_neurons": "", "revived_neurons": "",
    }  # fmt: skip
    assert output(capsys, structured.store.root, "--structure", "--format", "csv") == text


def test_sections_in_markdown_are_tables(
    structured: Writer, capsys: pytest.CaptureFixture[str]
) -> None:
    text = output(capsys, structured.store.root, "--structure", "--format", "markdown")
    title, gap, header, rule = text[text.index("structure of srigl at 90") :].splitlines()[:4]
    assert (title, gap) == ("structure of srigl at 90.00 % (n = 2)", "")
    assert [cell.strip() for cell in header.split("|")[1:-1]] == [
        "layer", "weights", "kept (%)", "neurons (active/all)", "fan-in (min..max)",
        "ablated/revived",
    ]  # fmt: skip
    assert set(rule) <= set("|-")


def test_storage_is_told_where_rows_and_all_parameters_are_known(
    structured: Writer, capsys: pytest.CaptureFixture[str]
) -> None:
    """40 biases beside 1,500 weights. Of older tickets, which know no rows, nothing is said."""
    layers = {"fc": layer(1200, 120, 30, 20, (6, 6)), "head": layer(300, 300, 10, 10, (30, 30))}
    ticket = structured.ticket("new", 0.8, 0.9, more={"layers": layers, "num_parameters": 1540})
    structured.record("static", 0, [(0.9, ticket)])
    text = output(capsys, structured.store.root, "--storage")
    kilobytes = ["6.2", "3.7", "2.8", "2.7", "2.0", "2.0"]
    assert section(text, "memory of the stored network, by format")[0] == [
        "static", "90.00", "1", *kilobytes,
    ]  # fmt: skip
    assert UNKNOWN in text
    table = output(capsys, structured.store.root, "--storage", "--format", "csv")
    (line,) = csv.DictReader(io.StringIO(table))
    assert float(line["bitmap_mean"]) == 4 * 120 + 150 + 4 * 300 + 38 + 4 * 40
    assert float(line["smallest_mean"]) == 4 * 120 + 150 + 4 * 300 + 4 * 40
    row = next(row for row in plain_rows([structured.store.root]) if row["method"] == "static")
    assert row["storage.dense"] == 4 * 1540


def test_what_updates_replaced_and_ablated_is_the_mean_over_fits(
    writer: Writer, capsys: pytest.CaptureFixture[str]
) -> None:
    """Two fits: 20 of 100 and 20 of 80 weights dropped; 30 of 120. Their neurons of `fc` differ."""
    updates = (
        {"steps": [2, 4], "kept": [80, 80], "dropped": [20, 20], "grown": [0, 20],
         "neurons": {"fc": {"dead": 4, "ablated": 6, "revived": 0}}},
        {"steps": [2], "kept": [90], "dropped": [30], "grown": [0],
         "neurons": {"fc": {"dead": 4, "ablated": 3, "revived": 1}}},
    )  # fmt: skip
    fits = []
    for number, content in enumerate(updates):

        def write(folder: Path, content: Any = content) -> None:
            write_json(folder / "cost.json", {"seconds": 1})
            write_json(folder / "updates.json", content)

        fits.append(writer.store.ensure(Stage("fit", {"name": f"moved {number}"}), write))
    known = writer.ticket("like", 0.8, 0.9, more={"layers": SEEDS[0]})
    metrics = writer.store.read(known, "metrics.json")
    made = Stage("ticket", {"name": "moved"}, tuple(fits))
    ticket = writer.store.ensure(made, lambda folder: write_json(folder / "metrics.json", metrics))
    writer.record("srigl", 0, [(0.9, ticket)])
    (row,) = plain_rows([writer.store.root])
    assert row["replaced_per_update"] == pytest.approx((20 / 100 + 20 / 80 + 30 / 120) / 3)
    assert row["num_mask_updates"] == 1.5
    text = output(capsys, writer.store.root, "--structure")
    assert section(text, "structure of srigl at 90.00 % (n = 1)")[:2] == [
        ["fc", "1,200", "10.00", "20/30", "6", "4.5/0.5"],
        ["head", "300", "10.00", "10/10", "1..9"],
    ]
    assert section(text, "weights ever active (ITOP rate, %)")[0] == [
        "srigl",
        "90.00",
        "23.33",
        "1",
    ]
