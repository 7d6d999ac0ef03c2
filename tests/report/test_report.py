"""Tables and pictures of stores: hand-made ones with known numbers, and real ones."""

from __future__ import annotations

import csv
import io
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from sparsekit.execution.identity import Stage
from sparsekit.execution.store import Store, write_json
from sparsekit.report import __main__ as report
from sparsekit.report.collect import collect
from sparsekit.report.compare import differences
from sparsekit.report.tables import Spread, comma_separated, markdown, rows_of, terminal

Row = tuple[float, str]


class Writer:
    """A store with records whose numbers are known."""

    def __init__(self, root: Path) -> None:
        self.store = Store(root)

    def ticket(self, name: str, accuracy: float, sparsity: float, *, seconds: float = 2.0) -> str:
        fit = Stage("fit", {"name": name})
        ticket = Stage("ticket", {"name": name}, (fit.key,))
        metrics = {
            "test_accuracy": accuracy,
            "val_accuracy": accuracy - 0.01,
            "test_loss": 1 - accuracy,
            "sparsity_prunable": sparsity,
            "sparsity_all": sparsity / 2,
            "num_parameters_kept": round(1000 * (1 - sparsity)),
            "flops": round(50_000 * (1 - sparsity)),
            "layers": {"fc.weight": {"size": 1000, "kept": round(2000 * accuracy) - 1000}},
        }
        cost = {"seconds": seconds}
        self.store.ensure(fit, lambda folder: write_json(folder / "cost.json", cost))
        self.store.ensure(ticket, lambda folder: write_json(folder / "metrics.json", metrics))
        return ticket.key

    def record(
        self,
        method: str,
        seed: int,
        rows: Sequence[Row],
        *,
        experiment: str = "test",
        variant: str = "v",
        overrides: Sequence[str] = (),
        status: str = "done",
        anchor: str | None = None,
    ) -> Path:
        """Rows are (sparsity, ticket); an anchor is a first row that is no result."""
        cycles: list[Mapping[str, Any]] = [
            {"cycle": i, "sparsity": sparsity, "ticket": ticket, "is_result": True}
            for i, (sparsity, ticket) in enumerate(rows)
        ]
        if anchor:
            extra = {"cycle": 0, "sparsity": 0.0, "ticket": anchor, "is_result": False}
            cycles = [extra, *cycles]
        content = {
            "experiment": experiment,
            "choices": {"method": method},
            "overrides": list(overrides),
            "seed": seed,
            "variant": variant,
            "config": {},
            "status": status,
            "rows": cycles,
            "error": None,
        }
        return self.store.name(experiment, f"{method}-seed{seed}-{variant}", content)


@pytest.fixture
def writer(tmp_path: Path) -> Writer:
    return Writer(tmp_path / "runs")


def three_seeds(writer: Writer) -> None:
    for seed, accuracy in enumerate((0.90, 0.92, 0.97)):
        dense = writer.ticket(f"dense{seed}", accuracy, 0.0)
        pruned = writer.ticket(f"imp{seed}", accuracy - 0.1, 0.8, seconds=seed + 1)
        writer.record("imp", seed, [(0.0, dense), (0.8, pruned)])


def output(capsys: pytest.CaptureFixture[str], *arguments: object) -> str:
    assert report.main([str(argument) for argument in arguments]) == 0
    return capsys.readouterr().out


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
    assert pruned.seconds == pytest.approx(2.0)


def test_one_seed_has_no_deviation() -> None:
    assert Spread.of([0.5]) == Spread(0.5, None, 1)
    assert Spread.of([0.5]).percent() == "50.00"


def test_the_table_shows_literally(writer: Writer) -> None:
    three_seeds(writer)
    table = terminal(collect([writer.store.root])).splitlines()
    assert " ".join(table[0].split()) == (
        "method sparsity test accuracy validation n sparsity (prunable) sparsity (all) "
        "parameters FLOPs seconds per fit"
    )
    assert table[2].split("  ")[0] == "imp"
    assert " ".join(table[2].split()) == (
        "imp 0.00 93.00 +- 3.61 92.00 +- 3.61 3 0.000 0.000 1,000 50,000 2.0"
    )
    assert " ".join(table[3].split()) == (
        "imp 80.00 83.00 +- 3.61 82.00 +- 3.61 3 80.000 40.000 200 10,000 2.0"
    )


def test_markdown_is_a_table(writer: Writer) -> None:
    three_seeds(writer)
    lines = markdown(collect([writer.store.root])).splitlines()
    assert len(lines) == 4
    assert {line.count("|") for line in lines} == {11}
    assert set(lines[1]) <= set("|-:")
    cells = [cell.strip() for cell in lines[3].split("|")[1:-1]]
    assert cells[:5] == ["imp", "80.00", "83.00 +- 3.61", "82.00 +- 3.61", "3"]


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
    assert {row.label for row in rows} == {"imp", "imp train.epochs=1", "imp train.epochs=2"}


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


def test_an_anchor_is_no_result(writer: Writer) -> None:
    anchor, ticket = writer.ticket("anchor", 0.3, 0.0), writer.ticket("imp", 0.9, 0.8)
    writer.record("imp", 0, [(0.8, ticket)], anchor=anchor)
    assert [result.ticket for result in collect([writer.store.root])] == [ticket]


def test_a_path_is_a_store_a_folder_or_a_record(writer: Writer, tmp_path: Path) -> None:
    first = writer.record("imp", 0, [(0.8, writer.ticket("a", 0.9, 0.8))], experiment="one")
    writer.record("imp", 0, [(0.8, writer.ticket("b", 0.8, 0.8))], experiment="two")
    root = writer.store.root
    assert len(collect([root])) == 2
    assert len(collect([root / "named"])) == 2
    assert len(collect([root / "named" / "one"])) == 1
    assert len(collect([first])) == 1
    assert len(collect([first, root / "named" / "two"])) == 2
    other = Writer(tmp_path / "other")
    other.record("imp", 1, [(0.8, other.ticket("c", 0.7, 0.8))], experiment="one")
    (row,) = rows_of(collect([first, other.store.root]))
    assert [result.seed for result in row.results] == [0, 1]


def test_mistakes_are_one_message(
    writer: Writer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    three_seeds(writer)
    stray = tmp_path / "stray.json"
    stray.write_text("{}")
    broken = tmp_path / "broken.json"
    broken.write_text("{")
    lost = writer.record("lost", 0, [(0.8, "ticket-0")], variant="lost")
    (tmp_path / "empty").mkdir()
    for path, message in [
        (tmp_path / "nowhere", "nowhere: no results here; give a store"),
        (tmp_path / "empty", "empty: no results here"),
        (stray, "stray.json is no record of a run: it has no 'rows'"),
        (broken, "broken.json is no record of a run"),
        (writer.store.root / "stages", "is no record of a run"),
        (lost, "ticket-0 is not in the store"),
    ]:
        assert report.main([str(path)]) == 2
        out, err = capsys.readouterr()
        assert out == ""
        assert err.startswith("error: ")
        assert message in err
        assert err.count("\n") == 1


def test_damaged_numbers_are_not_shown(writer: Writer, capsys: pytest.CaptureFixture[str]) -> None:
    ticket = writer.ticket("a", 0.9, 0.8)
    path = writer.record("imp", 0, [(0.8, ticket)])
    metrics = writer.store.path(ticket) / "metrics.json"
    metrics.write_text(metrics.read_text().replace("0.9", "0.99"))
    assert report.main([str(path)]) == 2
    assert f"{ticket}: checksum mismatch in metrics.json" in capsys.readouterr().err


@pytest.mark.parametrize("status", ["running", "failed", "interrupted"])
def test_what_is_not_done_is_said_at_the_end(
    writer: Writer, capsys: pytest.CaptureFixture[str], status: str
) -> None:
    three_seeds(writer)
    row = (0.8, writer.ticket("late", 0.5, 0.8))
    path = writer.record("imp", 3, [row], status=status)
    lines = output(capsys, writer.store.root).splitlines()
    assert lines[-1] == f"{path} is not done: {status} after 1 cycle"
    assert len(lines) == 5
    assert list(csv.reader(io.StringIO(output(capsys, path, "--format", "csv"))))[1][2] == "1"
    nothing = writer.record("imp", 4, [], status=status)
    assert f"{nothing} is not done: {status} after 0 cycles" in output(capsys, nothing)


def test_finished_runs_are_not_remarked_upon(
    writer: Writer, capsys: pytest.CaptureFixture[str]
) -> None:
    three_seeds(writer)
    assert "not done" not in output(capsys, writer.store.root)


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


def test_the_command_is_fast_and_imports_nothing_heavy(writer: Writer, tmp_path: Path) -> None:
    three_seeds(writer)
    started = time.perf_counter()
    ended = subprocess.run(
        [sys.executable, "-c", WITHOUT_TORCH, str(writer.store.root)],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(Path(report.__file__).parents[2])},
        capture_output=True,
        text=True,
        check=True,
    )
    assert time.perf_counter() - started < 3
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
    assert rows[0]["method"].startswith("one_shot")
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


def test_layers_show_what_each_keeps(writer: Writer, capsys: pytest.CaptureFixture[str]) -> None:
    three_seeds(writer)
    lines = output(capsys, writer.store.root, "--layers").splitlines()
    start = lines.index("kept of each layer (%)")
    assert lines[start + 1].split() == ["layer", "weights", "imp", "0.00", "imp", "80.00"]
    assert lines[start + 3].split() == ["fc.weight", "1,000", "86.00", "66.00"]
