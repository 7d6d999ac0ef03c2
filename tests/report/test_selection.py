"""Which results are shown, in which order; the best value of a setting, chosen on validation."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping
from typing import Any

import pytest

from sparsekit.report import __main__ as report
from tests.report.writer import Writer, output

RATES = {0.1: (0.90, 0.80), 0.2: (0.94, 0.70), 0.4: (0.99, 0.99)}
"""By learning rate: validation and test accuracy; the last has one seed."""


def config(rate: float, epochs: int = 5) -> Mapping[str, Any]:
    return {"train": {"epochs": epochs, "schedule": {"peak": rate}}, "method": {"cycles": 1}}


def write(writer: Writer, method: str, rates: Mapping[float, tuple[float, float]]) -> None:
    for rate, (val, test) in rates.items():
        for seed in range(1 if rate == 0.4 else 2):
            key = writer.ticket(
                f"{method} {rate} {seed}", test + seed / 100, 0.9, more={"val_accuracy": val}
            )
            writer.record(
                method, seed, [(0.9, key)], variant=f"{method}{rate}", config=config(rate),
                overrides=[f"method={method}", f"train.schedule.peak={rate}", f"seed={seed}"],
                labels={"method": method.upper()}, experiment=f"of-{method}",
            )  # fmt: skip


@pytest.fixture(scope="module")
def zoo(tmp_path_factory: pytest.TempPathFactory) -> Writer:
    writer = Writer(tmp_path_factory.mktemp("zoo") / "runs")
    write(writer, "imp", RATES)
    write(writer, "snip", {0.1: (0.5, 0.5)})
    return writer


def lines(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text)))


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        (["--where", "method=snip"], ["SNIP"]),
        (["--where", "method=SNIP"], ["SNIP"]),
        (["--where", "method!=imp"], ["SNIP"]),
        (["--experiment", "of-snip"], ["SNIP"]),
        (["--where", "train.schedule.peak>=0.4"], ["IMP"]),
        (["--where", "train.schedule.peak=0.20,0.4", "--where", "seed=0"],
         ["IMP (learning rate 0.2)", "IMP (learning rate 0.4)"]),
        (["--where", "sparsity<0.95", "--where", "cycle=0", "--experiment", "of-snip"], ["SNIP"]),
    ],
)  # fmt: skip
def test_conditions(
    asked: list[str], expected: list[str], zoo: Writer, capsys: pytest.CaptureFixture[str]
) -> None:
    shown = lines(output(capsys, zoo.store.root, "--format", "csv", *asked))
    assert [line["method"] for line in shown] == expected


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ("metod=imp", "no result here has a key metod; nearest: method"),
        ("peak=0.1", "nearest: train.schedule.peak"),
        ("seed<x", "'x' is not a number"),
        ("method", "expected KEY=VALUE"),
        ("method=rigl", "no result is like that"),
    ],
)
def test_conditions_that_are_mistakes(
    asked: str, message: str, zoo: Writer, capsys: pytest.CaptureFixture[str]
) -> None:
    assert report.main([str(zoo.store.root), "--where", asked]) == 2
    assert message in capsys.readouterr().err


def test_the_best_value_is_chosen_on_validation(
    zoo: Writer, capsys: pytest.CaptureFixture[str]
) -> None:
    shown = output(capsys, zoo.store.root, "--best-of", "train.schedule.peak")
    imp, snip = (line.split() for line in shown.splitlines() if line[:4] in ("IMP ", "SNIP"))
    assert imp[:2] == ["IMP", "90.00"], "one kind, whatever value was chosen"
    assert imp[2:5] == ["70.50", "+-", "0.71"], "the test split, where 0.1 is better, has no say"
    assert snip[:2] == ["SNIP", "90.00"]
    assert "IMP: train.schedule.peak = 0.2 at 90.00 %; the best of 3 values that were" in shown
    assert "unequal tuning: values of train.schedule.peak that were tried: SNIP 1, IMP 3" in shown


@pytest.mark.parametrize(
    ("key", "message"),
    [("seed", "not a setting of a method"), ("train.schedule.peek", "nearest: train.schedule.pe")],
)
def test_values_that_cannot_be_chosen(
    key: str, message: str, zoo: Writer, capsys: pytest.CaptureFixture[str]
) -> None:
    assert report.main([str(zoo.store.root), "--best-of", key]) == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    ("column", "first"),
    [("test_accuracy", 0.5), ("test_accuracy_mean:desc", 0.99), ("method:desc", 0.5)],
)
def test_order(column: str, first: float, zoo: Writer, capsys: pytest.CaptureFixture[str]) -> None:
    asked = ("--where", "seed=0", "--format", "csv", "--sort", column)
    shown = lines(output(capsys, zoo.store.root, *asked))
    assert float(shown[0]["test_accuracy_mean"]) == first


def test_an_order_by_what_is_no_column(zoo: Writer, capsys: pytest.CaptureFixture[str]) -> None:
    assert report.main([str(zoo.store.root), "--sort", "sparsty"]) == 2
    assert "there is no such column; there is sparsity" in capsys.readouterr().err


def test_what_a_format_does_not_have_is_refused(
    zoo: Writer, capsys: pytest.CaptureFixture[str]
) -> None:
    assert report.main([str(zoo.store.root), "--bold"]) == 2
    assert "--bold needs --format markdown or latex" in capsys.readouterr().err


def test_every_seed_is_a_line_with_all_that_is_known(
    zoo: Writer, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = (zoo.store.root, "--seeds", "--where", "method=imp", "--where", "seed=0")
    shown = lines(output(capsys, *asked, "--format", "csv"))
    assert [line["label"] for line in shown] == [f"IMP (learning rate {rate})" for rate in RATES]
    assert [float(line["test_accuracy"]) for line in shown] == [0.80, 0.70, 0.99]
    assert {line["method"] for line in shown} == {"imp"}
    assert all(line["ticket"].startswith("ticket-") for line in shown)
    assert "train.schedule.peak=0.1" in shown[0]["command"]
    assert "every seed" in output(capsys, *asked)
