"""The main table: hand-made stores with known numbers, and real ones."""

from __future__ import annotations

import csv
import io
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from sparsekit.report import __main__ as report
from sparsekit.report.collect import collect
from sparsekit.report.compare import differences
from sparsekit.report.notes import NOT_ALL, ONE_SEED, SPREAD
from sparsekit.report.rows import rows_of
from sparsekit.report.spread import Spread
from sparsekit.report.tables import comma_separated, main_table, markdown, terminal
from sparsekit.store.identity import Stage
from sparsekit.store.store import Store
from tests.report.writer import Writer, output, three_seeds


def test_mean_and_deviation_over_seeds(writer: Writer) -> None:
    three_seeds(writer)
    dense, pruned = rows_of(collect([writer.store.root]))
    assert (dense.label, dense.sparsity, len(dense.results)) == ("imp", 0.0, 3)
    assert (pruned.label, pruned.sparsity, len(pruned.results)) == ("imp", 0.8, 3)
    spread = pruned.spread("test_accuracy")
    assert spread.mean == pytest.approx(0.83)
    assert spread.deviation == pytest.approx(0.03605551275)
    assert spread.count == 3
    assert spread.percent() == "83.00 +- 3.61"
    assert pruned.seconds.mean == pytest.approx(2.0)
    assert pruned.seconds.deviation == pytest.approx(1.0)


def test_one_seed_has_no_deviation() -> None:
    assert Spread.of([0.5]) == Spread(0.5, None, 1)
    assert Spread.of([0.5]).percent() == "50.00"


def test_the_table_shows_literally(writer: Writer) -> None:
    three_seeds(writer)
    table = terminal(collect([writer.store.root])).splitlines()
    assert table[0].split() == [
        "method", "sparsity", "test", "accuracy", "n", "parameters", "average", "FLOPs",
        "sparsity", "sparsity", "seconds", "validation",
    ]  # fmt: skip
    assert table[1].split() == [
        "(%)", "parameters", "(prunable)", "(all)", "in", "all", "accuracy", "(%)",
    ]  # fmt: skip
    assert table[3].split("  ")[0] == "imp"
    assert " ".join(table[3].split()) == (
        "imp 0.00 93.00 +- 3.61 3 1,000 50,000 0.000 0.000 2 92.00 +- 3.61"
    )
    assert " ".join(table[4].split()) == (
        "imp 80.00 83.00 +- 3.61 3 200 10,000 80.000 40.000 2 82.00 +- 3.61"
    )
    assert table[5:] == [SPREAD]
    assert max(map(len, table)) < 140


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [
        ([1, 50, 700], ["seconds", "1", "50", "700"]),
        ([30, 600, 7200], ["minutes", "0.5", "10", "120"]),
        ([3600, 7200], ["hours", "1", "2"]),
    ],
)
def test_time_has_the_unit_that_half_of_the_rows_fill(
    writer: Writer, seconds: list[float], shown: list[str]
) -> None:
    for number, one in enumerate(seconds):
        ticket = writer.ticket(f"t{number}", 0.8, number / 10, seconds=one)
        writer.record(f"m{number}", 0, [(number / 10, ticket)])
    table = main_table(rows_of(collect([writer.store.root])))
    column = list(table.headers).index(f"{shown[0]} in all")
    assert [line[column] for line in table.cells] == shown[1:]


def test_average_parameters_are_shown_where_all_seeds_know_them(writer: Writer) -> None:
    for seed, average in enumerate((500.0, 600.0)):
        more = {"average_num_parameters": average, "average_num_kept": average - 100, "itop": 0.5,
                "itop_sparse": None}  # fmt: skip
        writer.record("gmp", seed, [(0.9, writer.ticket(f"g{seed}", 0.8, 0.9, more=more))])
    for seed, known in enumerate(({"average_num_parameters": 7.0}, {})):
        ticket = writer.ticket(f"s{seed}", 0.8, 0.9, more=known)
        writer.record("set", seed, [(0.9, ticket)])
    results = collect([writer.store.root])
    gmp, partly = (line.split() for line in terminal(results).splitlines()[3:5])
    assert gmp[5:9] == ["2", "100", "550", "5,000"]
    assert partly[5:8] == ["2", "100", "5,000"]
    rows = list(csv.DictReader(io.StringIO(comma_separated(results))))
    assert float(rows[0]["average_num_parameters_mean"]) == 550
    assert float(rows[0]["average_num_parameters_std"]) == pytest.approx(70.710678118)
    assert float(rows[0]["average_num_kept_mean"]) == 450
    assert (rows[0]["itop_mean"], rows[0]["itop_sparse_mean"]) == ("0.5", "")
    assert (rows[1]["average_num_parameters_mean"], rows[1]["itop_mean"]) == ("", "")
    assert (rows[0]["seconds_mean"], rows[0]["seconds_std"]) == ("2.0", "0.0")


def test_what_teachers_cost_has_a_column_where_there_were_any(writer: Writer) -> None:
    for seed, operations in enumerate((1e9, 3e9)):
        dense = writer.ticket(f"dense{seed}", 0.9, 0.0)
        taught = writer.ticket(f"t{seed}", 0.8, 0.9, taught={"teacher_flops": operations})
        writer.record("imp", seed, [(0.0, dense), (0.9, taught)])
    results = collect([writer.store.root])
    heading, below, _, alone, both, *_ = terminal(results).splitlines()
    at = heading.index("teacher")
    assert below[at:].startswith("FLOPs")
    assert alone[at:].split() == ["89.00", "+-", "0.00"]
    assert both[at:].split() == ["2e+09", "79.00", "+-", "0.00"]
    rows = list(csv.DictReader(io.StringIO(comma_separated(results))))
    assert [row["teacher_flops_mean"] for row in rows] == ["", "2000000000.0"]


def test_what_collapsed_is_named_below_the_table(
    writer: Writer, capsys: pytest.CaptureFixture[str]
) -> None:
    for seed, names in enumerate((["conv.weight", "fc.weight"], ["fc.weight"], [])):
        dense = writer.ticket("dense", 0.9, 0.0, more={"collapsed": []})
        pruned = writer.ticket(f"p{seed}", 0.1, 0.99, more={"collapsed": names})
        writer.record("snip", seed, [(0.0, dense), (0.99, pruned)])
    lines = [
        "layer collapse: snip at 99.00 %: conv.weight (1 of 3 seeds)",
        "layer collapse: snip at 99.00 %: fc.weight (2 of 3 seeds)",
    ]
    below = [f"{SPREAD}; {ONE_SEED}", *lines]
    assert terminal(collect([writer.store.root])).splitlines()[5:] == below
    shown = output(capsys, writer.store.root, "--format", "markdown").splitlines()
    assert shown[4:] == ["", *(f"* {line}" for line in below)]
    assert report.main([str(writer.store.root), "--format", "csv"]) == 0
    out, err = capsys.readouterr()
    assert "collapse" not in out
    assert err.splitlines() == lines


def test_layers_that_collapse_in_the_same_seeds_share_a_line(writer: Writer) -> None:
    for seed in (0, 1):
        ticket = writer.ticket(f"p{seed}", 0.1, 0.99, more={"collapsed": ["a", "b"]})
        writer.record("snip", seed, [(0.99, ticket)])
    _, line = terminal(collect([writer.store.root])).splitlines()[4:]
    assert line == "layer collapse: snip at 99.00 %: a, b (2 of 2 seeds)"


def test_markdown_is_a_table(writer: Writer) -> None:
    three_seeds(writer)
    lines = markdown(collect([writer.store.root])).splitlines()
    assert lines[4:] == ["", f"* {SPREAD}"]
    assert {line.count("|") for line in lines[:4]} == {12}
    assert set(lines[1]) <= set("|-:")
    cells = [cell.strip() for cell in lines[3].split("|")[1:-1]]
    assert cells[:5] == ["imp", "80.00", "83.00 +- 3.61", "3", "200"]
    assert cells[5] == ""


def test_csv_parses_back_unrounded(writer: Writer) -> None:
    three_seeds(writer)
    writer.record("odd, name", 0, [(0.8, writer.ticket("x", 1 / 3, 0.8))], variant="w")
    text = comma_separated(collect([writer.store.root]))
    rows = {(r["method"], float(r["sparsity"])): r for r in csv.DictReader(io.StringIO(text))}
    assert set(rows) == {("imp", 0.0), ("imp", 0.8), ("odd, name", 0.8)}
    assert float(rows["imp", 0.8]["test_accuracy_mean"]) == pytest.approx(0.83, abs=1e-15)
    assert float(rows["imp", 0.8]["test_accuracy_std"]) == pytest.approx(0.036055512754639)
    assert rows["imp", 0.8]["n"] == "3"
    assert float(rows["odd, name", 0.8]["test_accuracy_mean"]) == 1 / 3
    assert rows["odd, name", 0.8]["test_accuracy_std"] == ""


def test_a_ticket_that_several_runs_share_counts_once(writer: Writer) -> None:
    dense = writer.ticket("dense", 0.9, 0.0)
    for number, sparsity in enumerate((0.5, 0.8, 0.9)):
        pruned = writer.ticket(f"pruned{number}", 0.8, sparsity)
        overrides = [f"sparsity={sparsity}"]
        path = writer.record("one_shot", 0, [(0.0, dense), (sparsity, pruned)], overrides=overrides)
        path.rename(path.with_name(f"{number}.json"))
    rows = rows_of(collect([writer.store.root]))
    assert [(row.sparsity, len(row.results)) for row in rows] == [
        (0.0, 1), (0.5, 1), (0.8, 1), (0.9, 1),
    ]  # fmt: skip
    assert {row.label for row in rows} == {"one_shot"}


def test_runs_of_different_variants_never_share_a_row(writer: Writer) -> None:
    for variant, override in [("a", "train.epochs=1"), ("b", "train.epochs=2"), ("c", "seed=0")]:
        ticket = writer.ticket(variant, 0.9, 0.8)
        writer.record("imp", 0, [(0.8, ticket)], variant=variant, overrides=[override])
    rows = rows_of(collect([writer.store.root]))
    assert [len(row.results) for row in rows] == [1, 1, 1]
    assert {row.label for row in rows} == {"imp", "imp (1 epoch)", "imp (2 epochs)"}


def test_variants_that_only_their_digest_tells_apart(writer: Writer) -> None:
    for variant in ("a", "b"):
        writer.record("imp", 0, [(0.8, writer.ticket(variant, 0.9, 0.8))], variant=variant)
    labels = {row.label for row in rows_of(collect([writer.store.root]))}
    assert labels == {"test: imp #a", "test: imp #b"}


def test_equal_methods_of_two_experiments_never_share_a_row(writer: Writer) -> None:
    for experiment in ("first", "second"):
        ticket = writer.ticket(experiment, 0.9, 0.8)
        writer.record("imp", 0, [(0.8, ticket)], experiment=experiment)
    labels = {row.label for row in rows_of(collect([writer.store.root]))}
    assert labels == {"first: imp", "second: imp"}


@pytest.mark.parametrize("status", ["running", "failed", "interrupted"])
def test_what_is_not_done_is_said_at_the_end(
    writer: Writer, capsys: pytest.CaptureFixture[str], status: str
) -> None:
    three_seeds(writer)
    row = (0.0, writer.ticket("late", 0.5, 0.0))
    path = writer.record("imp", 3, [row], status=status)
    lines = output(capsys, writer.store.root).splitlines()
    assert lines[-1] == f"{path} is not done: {status} after 1 cycle"
    assert lines[5:-1] == [f"{SPREAD}; {NOT_ALL}"]
    assert [re.findall(r"\d+ of \d+|  4  ", line) for line in lines[3:5]] == [["  4  "], ["3 of 4"]]
    assert list(csv.reader(io.StringIO(output(capsys, path, "--format", "csv"))))[1][2] == "1"
    nothing = writer.record("imp", 4, [], status=status)
    assert f"{nothing} is not done: {status} after 0 cycles" in output(capsys, nothing)


def test_finished_runs_are_not_remarked_upon(
    writer: Writer, capsys: pytest.CaptureFixture[str]
) -> None:
    three_seeds(writer)
    assert "not done" not in output(capsys, writer.store.root)


def test_reading_changes_nothing(
    writer: Writer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def state() -> dict[Path, tuple[int, float]]:
        files = writer.store.root.rglob("*")
        return {file: (file.stat().st_size, file.stat().st_mtime) for file in files}

    three_seeds(writer)
    before = state()
    output(capsys, writer.store.root, "--plot", tmp_path / "picture.png")
    assert state() == before


WITHOUT_TORCH = """
import sys
from sparsekit.report.__main__ import main
status = main(sys.argv[1:])
print("heavy:", sorted({"torch", "lightning", "timm", "hydra", "wandb"} & set(sys.modules)))
sys.exit(status)
"""


def test_the_command_imports_nothing_heavy(writer: Writer, tmp_path: Path) -> None:
    three_seeds(writer)
    ended = subprocess.run(
        [sys.executable, "-c", WITHOUT_TORCH, str(writer.store.root)],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(Path(report.__file__).parents[2])},
        capture_output=True,
        text=True,
        check=True,
    )
    assert ended.stdout.splitlines()[-1] == "heavy: []"
    assert "83.00 +- 3.61" in ended.stdout


def test_a_real_store(
    run_tiny: Callable[..., tuple[Store, list[str]]], capsys: pytest.CaptureFixture[str]
) -> None:
    for seed in (0, 1):
        store, tickets = run_tiny("method=one_shot", f"seed={seed}")
    text = output(capsys, store.root, "--format", "csv")
    rows = list(csv.DictReader(io.StringIO(text)))
    assert [(row["sparsity"], row["n"]) for row in rows] == [("0.0", "2"), ("0.8", "2")]
    assert rows[0]["method"] == "One-shot (magnitude)"
    accuracies = [
        store.read(r["ticket"], "metrics.json")["test_accuracy"]
        for file in store.root.glob("named/*/*.json")
        for r in json.loads(file.read_text())["rows"][1:]
    ]
    assert len(accuracies) == 2
    assert float(rows[1]["test_accuracy_mean"]) == pytest.approx(sum(accuracies) / 2)
    assert store.read(tickets[-1], "metrics.json")["sparsity_prunable"] == pytest.approx(0.8, 1e-3)


def test_comparing_stores(tmp_path: Path) -> None:
    first, second = Writer(tmp_path / "a"), Writer(tmp_path / "b")
    for writer in (first, second):
        writer.ticket("same", 0.9, 0.8, seconds=1.0 if writer is first else 9.0)
    assert differences(first.store, second.store) == []
    only = first.ticket("only", 0.9, 0.8)
    assert f"{only} is only in {first.store.root}" in differences(first.store, second.store)
    other = first.ticket("other", 0.5, 0.8)
    second.ticket("other", 0.6, 0.8)
    assert f"{other}/metrics.json differs" in differences(first.store, second.store)
    first.study("particles", {"best": 0})
    key = second.study("particles", {"best": 1})
    assert f"{key}/study.json differs" in differences(first.store, second.store)


def test_no_kind_of_stage_is_left_out_of_a_comparison(tmp_path: Path) -> None:
    first, second = Writer(tmp_path / "a"), Writer(tmp_path / "b")
    for writer, text in ((first, "one"), (second, "other")):
        writer.store.ensure(
            Stage("strange", {"a": 1}), lambda folder, text=text: (folder / "x").write_text(text)
        )
    (line,) = differences(first.store, second.store)
    assert line == f"{Stage('strange', {'a': 1}).key}/x differs"
