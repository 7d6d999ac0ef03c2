"""Studying what is there already: nothing is computed twice, and runs keep what was found."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from sparsekit import study
from sparsekit.core.types import State
from sparsekit.report import __main__ as report
from sparsekit.run import main as run
from sparsekit.status.provenance import mentioned
from sparsekit.training.judge import NetworkJudge, Split
from tests.conftest import TINY

ASKED = ("method=imp", "method.cycles=2", "seed=0")


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    store = tmp_path_factory.mktemp("trained") / "runs"
    assert run([*TINY, *ASKED, f"runtime.store={store}"]) == 0
    return store


@pytest.fixture
def store(trained: Path, tmp_path: Path) -> Path:
    """A store of one finished run, for one test."""
    return Path(shutil.copytree(trained, tmp_path / "runs"))


def record(store: Path) -> dict[str, Any]:
    (file,) = (store / "named").rglob("*.json")
    content: dict[str, Any] = json.loads(file.read_text())
    return content


def results(store: Path) -> dict[str, bytes]:
    """Every file of every stage but studies and what they keep of outputs."""
    files = (path for path in (store / "stages").rglob("*") if path.is_file())
    others = {"study", "outputs"}
    return {str(f): f.read_bytes() for f in files if f.parent.parent.name not in others}


def snapshot(store: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in store.rglob("*") if path.is_file()}


def study_keys(store: Path) -> set[str]:
    return {path.name for path in (store / "stages" / "study").glob("*")}


def test_the_last_result_is_studied_and_the_report_shows_it(
    store: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = results(store)
    assert study.main(["calibration,barriers", str(store), "runtime.accelerator=cpu"]) == 0
    assert "cycle 2: calibration, barriers" in capsys.readouterr().out
    assert results(store) == before
    rows = record(store)["rows"]
    assert [set(row["studies"]) for row in rows] == [set(), set(), {"calibration", "barriers"}]
    assert report.main([str(store), "--studies"]) == 0
    assert "at_temperature.ece" in capsys.readouterr().out
    keys = study_keys(store)
    assert study.main(["calibration", str(store), "--every"]) == 0
    assert len(study_keys(store) - keys) == 2
    assert {"calibration"} == set(record(store)["rows"][0]["studies"])


def test_studies_share_what_the_network_answered(
    store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []
    answer = NetworkJudge.outputs

    def counted(judge: NetworkJudge, state: State, split: Split) -> Any:
        asked.append(split)
        return answer(judge, state, split)

    monkeypatch.setattr(NetworkJudge, "outputs", counted)
    assert study.main(["calibration,classes,other_data", str(store)]) == 0
    assert sorted(asked) == ["test", "val"]
    for folder in (store / "stages" / "study").iterdir():
        shutil.rmtree(folder)
    assert study.main(["calibration,classes", str(store)]) == 0
    assert len(asked) == 2
    # No record names them, so that garbage collection may delete them.
    kept = {path.name for path in (store / "stages" / "outputs").iterdir()}
    assert len(kept) == 2
    assert not kept & mentioned(store)


def test_the_run_that_is_asked_for_again_keeps_it(store: Path) -> None:
    assert study.main(["classes", str(store)]) == 0
    before = record(store)["rows"]
    assert run([*TINY, *ASKED, f"runtime.store={store}"]) == 0
    assert record(store)["rows"] == before


def test_what_a_run_has_studied_itself_is_the_same_stage(tmp_path: Path) -> None:
    studies = "method.studies=[{_target_:sparsekit.method.studies.barriers}]"
    assert run([*TINY, *ASKED, studies, f"runtime.store={tmp_path}"]) == 0
    keys = study_keys(tmp_path)
    assert study.main(["barriers", str(tmp_path), "--every"]) == 0
    assert study_keys(tmp_path) == keys


def test_a_study_of_ones_own_with_settings(store: Path) -> None:
    given = "{_target_: sparsekit.method.evaluations.calibration, num_bins: 3, split: val}"
    assert study.main([given, str(store)]) == 0
    key = record(store)["rows"][-1]["studies"]["calibration"]
    said = json.loads((store / "stages" / "study" / key / "study.json").read_text())
    assert (said["num_bins"], said["split"]) == (3, "val")


def test_masks_of_cycles_overlap_as_far_as_they_are_nested(store: Path) -> None:
    first = record(store)["rows"][1]["ticket"]
    given = f"{{_target_: sparsekit.method.overlaps.overlaps, to: {first}}}"
    assert study.main([given, str(store)]) == 0
    key = record(store)["rows"][-1]["studies"]["overlaps"]
    found = json.loads((store / "stages" / "study" / key / "study.json").read_text())
    kept = [
        json.loads((store / "stages" / "ticket" / row["ticket"] / "metrics.json").read_text())
        for row in record(store)["rows"]
    ]
    assert found["previous"]["total"] == kept[2]["num_kept"] / kept[1]["num_kept"]
    assert found["to"] == found["previous"]
    assert "particles" not in found


def test_what_cannot_be_studied_says_why(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = [
        "task=regression",
        "data=diabetes",
        "train=diabetes",
        "method=one_shot",
        "sparsity=0.5",
    ]
    tiny = [text for text in TINY if not text.startswith("data=")]
    assert run([*tiny, *asked, f"runtime.store={tmp_path}"]) == 0
    assert study.main(["classes", str(tmp_path)]) == 0
    reason = "needs a classification: one class per example, and logits for it"
    assert f"classes not made: {reason}" in capsys.readouterr().out
    assert record(tmp_path)["rows"][-1]["skipped_studies"] == {"classes": reason}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["callibration", "{store}"], "'callibration' is no study; there are calibration, classes"),
        (["{_target_: no.such, a: 1}", "{store}"], "no.such"),
        (["classes", "{store}", "method.cycles=3"], "only settings of runtime."),
        (["classes", "{store}", "runtime.acelerator=cpu"], "acelerator"),
        (["classes", "{store}-elsewhere"], "no results here"),
    ],
)
def test_mistakes(
    arguments: list[str], message: str, store: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = snapshot(store)
    assert study.main([text.replace("{store}", str(store)) for text in arguments]) == 2
    assert message in capsys.readouterr().err
    assert snapshot(store) == before


def test_only_finished_runs_on_the_same_data(
    store: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (file,) = (store / "named").rglob("*.json")
    whole = file.read_text()
    file.write_text(json.dumps({**record(store), "status": "interrupted"}))
    assert study.main(["classes", str(store)]) == 1
    assert "is interrupted: only finished runs are studied" in capsys.readouterr().err
    file.write_text(whole)
    (found,) = (store / "stages" / "init").rglob("data_fingerprint.json")
    monkeypatch.setattr("sparsekit.data.memory.InMemory.fingerprint", lambda self: "other")
    assert study.main(["classes", str(store)]) == 1
    assert "is not the data that ticket-" in capsys.readouterr().err
    assert found.exists()
