"""Studies of particles: what is read off them, in percent for people, unrounded for machines."""

from __future__ import annotations

import csv
import io
import json
from typing import Any

import pytest

from sparsekit.report import __main__ as report
from sparsekit.report.notes import ONE_SEED, SPREAD
from sparsekit.report.particles import measures
from sparsekit.tasks.metric import Metric
from tests.report.writer import Writer, output


def four(accuracy: float) -> dict[str, float]:
    """The validation accuracy is half of it, so that a mistaken split is seen."""
    return {"test_accuracy": accuracy, "test_loss": 1 - accuracy, "val_accuracy": accuracy / 2,
            "val_loss": 1.5 - accuracy}  # fmt: skip


def gap(first: float, second: float) -> dict[str, float]:
    return {"test_accuracy": first - second, "val_accuracy": (first - second) / 2}


def particles(up: float = 0.0) -> dict[str, Any]:
    """Three candidates of 0.8, 0.875 and 0.85 (mean 0.8416...), the second best by validation."""
    return {
        "candidates": [{"key": "fit-a", **four(0.8)}, {"key": "fit-b", **four(0.875)},
                       {"key": "fit-c", **four(0.85)}],
        "mean": four(0.84),
        "best": 1,
        "merged": four(0.9 + up),
        "gap_to_mean": gap(0.9 + up, 0.84),
        "gap_to_best": gap(0.9 + up, 0.875),
        "ensemble": four(0.95),
        "geometry": {
            "distances": [[0.0, 1.0, 2.0], [1.0, 0.0, 6.0], [2.0, 6.0, 0.0]],
            "angles": [[0.0, 10.0, 20.0], [10.0, 0.0, 60.0], [20.0, 60.0, 0.0]],
            "to_barycentre": [1.0, 1.0, 4.0],
        },
    }  # fmt: skip


def pair(kind: str, barrier: float, **more: float) -> dict[str, Any]:
    return {"kind": kind, "between": ["a", "b"], "val_error": [0.5, 0.5], "test_error": [0.5, 0.5],
            "val_instability": barrier / 4, "val_barrier": barrier / 2,
            "test_instability": 2 * barrier, "test_barrier": barrier, **more}  # fmt: skip


BARRIERS = {
    "alphas": [0.0, 1.0],
    "pairs": [pair("particles", 0.01), pair("particles", 0.03), pair("particles", 0.02),
              pair("cycles", 0.125)],
}  # fmt: skip


@pytest.fixture
def studied(writer: Writer) -> Writer:
    """A soup with both studies over two seeds, IMP with barriers alone, and one without any."""
    for seed, up in enumerate((0.0, 0.02)):
        studies = {"particles": writer.study(f"p{seed}", particles(up)),
                   "barriers": writer.study("b", BARRIERS)}  # fmt: skip
        rows = [(0.0, writer.ticket("d", 0.9, 0.0)), (0.8, writer.ticket(f"s{seed}", 0.9, 0.8))]
        writer.record("soup", seed, rows, studies=studies)
    cycles = {"alphas": [0.0, 1.0], "pairs": [pair("cycles", 0.25)]}
    imp = {"barriers": writer.study("c", cycles)}
    writer.record("imp", 0, [(0.8, writer.ticket("i", 0.9, 0.8))], studies=imp)
    writer.record("rigl", 0, [(0.8, writer.ticket("r", 0.9, 0.8))])
    return writer


def test_the_table_shows_literally(studied: Writer, capsys: pytest.CaptureFixture[str]) -> None:
    text = output(capsys, studied.store.root, "--particles", "--format", "markdown")
    table, note = text.split("particles (test accuracy and barriers in %)")[1].split("\n\n* ")
    assert note.strip() == f"{SPREAD}; {ONE_SEED}"
    _, header, _, *lines = table.split("\n|")
    rows = [[cell.strip() for cell in line.strip("|\n").split("|")] for line in (header, *lines)]
    assert rows[0] == [
        "method", "sparsity", "mean particle", "best particle", "merged", "gap to mean",
        "prediction ensemble", "distance", "angle (degrees)", "barrier between particles",
        "barrier to the previous cycle", "n",
    ]  # fmt: skip
    assert rows[1:] == [
        ["imp", "80.00", "", "", "", "", "", "", "", "", "25.00", "1"],
        ["soup", "80.00", "84.00 +- 0.00", "87.50 +- 0.00", "91.00 +- 1.41", "+7.00 +- 1.41",
         "95.00 +- 0.00", "3.00 +- 0.00", "30.00 +- 0.00", "3.00 +- 0.00", "12.50 +- 0.00", "2"],
    ]  # fmt: skip


def test_for_machines_with_validation(studied: Writer, capsys: pytest.CaptureFixture[str]) -> None:
    text = output(capsys, studied.store.root, "--particles", "--format", "csv")
    imp, soup = csv.DictReader(io.StringIO(text))
    expected = {
        "test_mean": 0.84, "val_mean": 0.42, "test_best": 0.875, "val_best": 0.4375,
        "test_merged": 0.91, "val_merged": 0.455, "test_gap_to_mean": 0.07,
        "test_gap_to_best": 0.035, "val_gap_to_best": 0.0175, "test_ensemble": 0.95,
        "val_ensemble": 0.475, "distance": 3.0, "angle": 30.0, "to_barycentre": 2.0,
        "test_barrier_particles": 0.03, "val_barrier_particles": 0.015,
        "test_instability_particles": 0.06, "val_instability_particles": 0.0075,
        "test_barrier_cycles": 0.125, "val_barrier_cycles": 0.0625,
    }  # fmt: skip
    assert {name: float(soup[f"{name}_mean"]) for name in expected} == pytest.approx(expected)
    assert float(soup["test_merged_std"]) == pytest.approx(0.0141421356)
    assert (soup["n"], soup["test_loss_barrier_particles_mean"]) == ("2", "")
    assert (imp["test_mean_mean"], imp["test_barrier_cycles_mean"]) == ("", "0.25")


def test_the_best_is_the_one_that_validation_chose() -> None:
    study = {**particles(), "best": 0}
    assert measures({"particles": study})["test_best"] == 0.8


def test_a_task_without_an_ensemble_has_everything_else() -> None:
    study = particles()
    named = {**study, "particles": study.pop("candidates"), "ensemble": None}
    found = measures({"particles": named})
    assert found["test_best"] == 0.875
    assert "test_ensemble" not in found


def test_the_metric_is_that_of_the_task() -> None:
    metric = Metric("perplexity", "min")
    study = json.loads(json.dumps(particles()).replace("accuracy", "perplexity"))
    assert measures({"particles": study}, metric)["test_merged"] == 0.9


def test_a_single_particle_is_nothing_to_compare() -> None:
    study = particles()
    geometry = {"distances": [[0.0]], "angles": [[0.0]], "to_barycentre": [0.0]}
    alone = {**study, "candidates": study["candidates"][:1], "best": 0, "geometry": geometry}
    assert measures({"particles": alone}) == {}


def test_barriers_of_the_loss_where_they_were_measured() -> None:
    pairs = [pair("particles", 0.1, test_loss_barrier=2.0),
             pair("particles", 0.2, test_loss_barrier=1.0)]  # fmt: skip
    found = measures({"barriers": {"alphas": [0.0, 1.0], "pairs": pairs}})
    assert found["test_loss_barrier_particles"] == 2.0
    assert found["test_barrier_particles"] == 0.2


def test_a_store_without_studies_says_so(
    writer: Writer, capsys: pytest.CaptureFixture[str]
) -> None:
    writer.record("imp", 0, [(0.8, writer.ticket("a", 0.9, 0.8))])
    lines = output(capsys, writer.store.root, "--particles").splitlines()
    assert lines[-1] == "no run here has studies of its particles (method.studies)"


def test_labels_are_those_of_the_main_table(
    writer: Writer, capsys: pytest.CaptureFixture[str]
) -> None:
    plain, other = writer.ticket("a", 0.9, 0.8), writer.ticket("b", 0.9, 0.8)
    studies = {"particles": writer.study("p", particles())}
    writer.record("soup", 0, [(0.8, plain)], variant="v", overrides=["train.epochs=1"])
    writer.record("soup", 0, [(0.8, other)], variant="w", overrides=["train.epochs=2"],
                  studies=studies)  # fmt: skip
    text = output(capsys, writer.store.root, "--particles").split("particles (")[1]
    assert "soup (2 epochs)" in text
    assert "train.epochs=1" not in text


def test_a_csv_is_one_table(studied: Writer, capsys: pytest.CaptureFixture[str]) -> None:
    root = str(studied.store.root)
    assert report.main([root, "--format", "csv", "--particles", "--layers"]) == 2
    out, err = capsys.readouterr()
    assert (out, err) == (
        "",
        "error: a CSV holds one table, but 2 are asked: --layers or --structure, --particles\n",
    )
