"""The dashboard as code, written without a network and without a key."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any

import pytest

from sparsekit import dashboard
from sparsekit.mirror import rows
from sparsekit.tasks.metric import Metric

EPOCH = {"step": 10, "epoch": 1.0, "val_perplexity": 7.0, "train_loss": 2.0, "itop": 0.5,
         "fan_in/1.weight/min": 3}  # fmt: skip


def panels(file: Path) -> list[dict[str, Any]]:
    bank = json.loads(file.read_text())["spec"]["section"]["panelBankConfig"]
    return [panel["config"] for section in bank["sections"] for panel in section["panels"]]


def test_panels_find_what_runs_tell(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("wandb_workspaces")
    monkeypatch.setattr(dashboard, "_metrics", lambda paths: [Metric("perplexity", "min")])
    file = tmp_path / "dashboard.json"
    assert dashboard.main(["--output", str(file)]) == 0
    assert "--publish puts it on the server" in capsys.readouterr().out
    told = rows.fit_row("fit-a", 2, 1, EPOCH)
    patterns = {one["metricRegex"]: one["xAxis"] for one in panels(file) if one.get("metricRegex")}
    drawn = {axis for text, axis in patterns.items() if any(re.fullmatch(text, n) for n in told)}
    assert drawn == {"epoch", "_step"}
    assert all(one["useMetricRegex"] for one in panels(file) if one.get("metricRegex"))
    named = {name for one in panels(file) for name in one.get("metrics") or ()}
    assert {"fit/val_perplexity", "fit/itop"} <= named & set(told)
    assert any(one.get("yAxis") == "summary:test_perplexity" for one in panels(file))
    (runs,) = json.loads(file.read_text())["spec"]["section"]["runSets"]
    (order,) = runs["sort"]["keys"]
    assert (order["key"]["name"], order["ascending"]) == ("test_perplexity", True)
    grouped = [group["name"].rpartition(".")[2] for group in runs["grouping"]]
    assert grouped == ["sweep", "method", "sparsity"]


@pytest.mark.parametrize(
    ("key", "typed", "said"),
    [
        (False, ["--publish", "--entity", "me"], "type `wandb login`, or set WANDB_API_KEY"),
        (True, ["--publish", "--entity", ""], "--publish needs --entity"),
        (True, ["no-such-store"], "no-such-store: no results here"),
    ],
)
def test_mistakes_are_said(
    key: bool, typed: list[str], said: str, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str], tmp_path: Path,
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(dashboard, "has_key", lambda: key)
    monkeypatch.setattr(dashboard, "workspace", lambda *_, **__: None)
    assert dashboard.main(typed) == 2
    assert said in capsys.readouterr().err


def test_without_the_package_it_says_which(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "wandb_workspaces.workspaces", None)
    monkeypatch.setitem(sys.modules, "wandb_workspaces.reports.v2", None)
    assert dashboard.main([]) == 2
    assert "pip install 'sparsekit[dashboard]'" in capsys.readouterr().err
