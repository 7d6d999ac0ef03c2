"""What runs share is counted once, within methods and between them."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.work_saved import EACH, TOGETHER, Cost, Saved, line, main, rows

COST = {
    "init-0": Cost(0.0, 0.0),
    "fit-dense": Cost(4.0, 100.0),
    "fit-a": Cost(2.0, 30.0),
    "fit-b": Cost(1.0, 10.0),
}


def record(label: str, *stages: str) -> dict[str, object]:
    return {"labels": {"method": label}, "stages": ["init-0", "fit-dense", *stages]}


def test_shared_stages_are_counted_once() -> None:
    found = rows([record("A", "fit-a"), record("A", "fit-a", "fit-b"), record("B")], COST)
    assert found == {
        "A": Saved(2, (7, 4), (5, 3), (13.0, 7.0), (270.0, 140.0)),
        "B": Saved(1, (2, 2), (1, 1), (4.0, 4.0), (100.0, 100.0)),
        EACH: Saved(3, (9, 6), (6, 4), (17.0, 11.0), (370.0, 240.0)),
        TOGETHER: Saved(3, (9, 4), (6, 3), (17.0, 7.0), (370.0, 140.0)),
    }
    assert line("A", found["A"]) == "| A | 2 | 7 | 4 | 5 | 3 | 48% | 13 | 7 | 46% |"


def test_a_store_without_runs_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([str(tmp_path)]) == 2
    assert "no finished runs" in capsys.readouterr().err
