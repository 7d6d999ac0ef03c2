"""Looking: pages that fit, errors that help, no trace in the store, nothing heavy imported."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from sparsekit.status.views import Fit, RunView, SweepView
from sparsekit.sweeps import scheduler
from sparsekit.sweeps.page import publish_page
from sparsekit.sweeps.records import list_sweeps
from tests.status.sweeps import ROOT, Asked, started, status
from tests.waiting import PATIENCE

HEAVY = ("torch", "lightning", "hydra", "omegaconf", "matplotlib", "numpy")
LOOKS = ([], ["--json"], ["logs", "custom", "0"], ["gc"])


def everything(folder: Path) -> dict[str, tuple[int, int]]:
    """Of all files and folders: when they were changed, and their size."""
    told = {path: path.lstat() for path in (folder, *folder.rglob("*"))}
    return {str(path): (about.st_mtime_ns, about.st_size) for path, about in told.items()}


def copied(asked: Asked, name: str, label: str) -> None:
    """Another sweep of the same runs in the same store."""
    sweep = asked.sweep.folder
    shutil.copytree(sweep, sweep.with_name(name))
    frozen = json.loads((sweep / "sweep.json").read_text())
    (sweep.with_name(name) / "sweep.json").write_text(json.dumps({**frozen, "command": label}))


@pytest.mark.parametrize("arguments", LOOKS, ids=" ".join)
def test_looking_changes_nothing(arguments: list[str], finished: Asked) -> None:
    run = finished.sweep.runs[0]
    (finished.store / "named" / run["experiment"] / f"{run['name']}.json").unlink()
    shutil.rmtree(finished.sweep.folder / "claims")
    owner = finished.sweep.folder / "claims" / "0000" / "abcdef.5.1.00000000"
    if "--json" in arguments:  # it runs on another machine; elsewhere nobody has ever run
        owner.mkdir(parents=True)
        (owner / "heartbeat").touch()
    before = everything(finished.folder)
    process = started(["sparsekit.status", *arguments, "--store", str(finished.store)])
    process.communicate(timeout=PATIENCE)
    assert process.returncode == 0
    assert everything(finished.folder) == before


def test_a_sweep_ends_with_a_page_that_is_named(
    finished: Asked, capsys: pytest.CaptureFixture[str]
) -> None:
    page = finished.store / "pages" / f"{finished.sweep.name}.html"
    content = page.read_text(encoding="utf-8")
    assert all(run["name"] in content for run in finished.sweep.runs)
    assert f"page: {page}" in status(capsys, finished.store, finished.sweep.name).out
    shutil.rmtree(page.parent)
    assert "page:" not in status(capsys, finished.store, finished.sweep.name).out
    page.parent.write_text("in the way")
    capsys.readouterr()
    publish_page(finished.sweep)
    assert f"there is no page of {finished.sweep.name}: " in capsys.readouterr().err


def test_nothing_heavy_is_imported(finished: Asked) -> None:
    code = (
        "import sys; from sparsekit.status.__main__ import main; "
        f"assert main(['--store', {str(finished.store)!r}]) == 0; "
        f"print([name for name in {HEAVY} if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.stdout.splitlines()[-1] == "[]", done.stderr


@pytest.mark.parametrize("width", [24, 40, 60, 80, 120, 250])
def test_pages_fit_the_terminal(
    width: int,
    finished: Asked,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    out = status(capsys, finished.store).out
    head, table, _ = re.split(r"\n\n", out)
    assert max(len(line.rstrip()) for line in table.splitlines()) <= width
    assert "custom" in head
    rows = [line for line in table.splitlines() if re.match(r"\d{4} ", line)]
    assert [row.split()[0] for row in rows] == ["0000", "0001", "0002", "0003"]
    assert all(" done" in row for row in rows)
    assert ("one_shot" in table) == (width >= 40)
    assert ("2/2" in table) == (width >= 60)


def test_where_no_terminal_is_nothing_is_cut(
    finished: Asked, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("COLUMNS", raising=False)
    assert "..." not in status(capsys, finished.store).out


def test_several_sweeps_are_listed(finished: Asked, capsys: pytest.CaptureFixture[str]) -> None:
    name = finished.sweep.name
    copied(finished, "other-12345678", "the other command")
    out = status(capsys, finished.store).out
    first, second = (line for line in out.splitlines() if re.search(r"-[0-9a-f]{8} ", line))
    assert first.startswith(name)
    assert second.startswith("other-12345678")
    assert "the other command" in second
    assert re.search(r" 4 +4 ", second), "four runs, all done"
    assert "0003" not in out
    assert "0003" in status(capsys, finished.store, "other").out
    listed = json.loads(status(capsys, finished.store, "--json").out)
    assert listed["store"] == str(finished.store)
    assert [one["counts"] for one in listed["sweeps"]] == [{"done": 4}] * 2
    copied_names = [one["name"] for one in listed["sweeps"]]
    assert copied_names == [name, "other-12345678"]


def test_slurm_is_asked_once_for_all_sweeps(
    finished: Asked, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    copied(finished, "other-12345678", "the other command")
    shutil.rmtree(finished.store / "named")
    for sweep in list_sweeps(finished.store):
        sweep.submit("runs", ["0000"])
    asked: list[str] = []
    monkeypatch.setattr(scheduler, "queue", lambda user: asked.append(user) or [])
    assert json.loads(status(capsys, finished.store, "--json").out)["sweeps"][1]["counts"] != {}
    assert len(asked) == 1


def test_keys_of_the_json_are_documented(finished: Asked) -> None:
    view = finished.seen()
    text = (ROOT / "docs" / "status.md").read_text()
    fields: list[str] = []
    for one in (SweepView, RunView, Fit):
        fields += one.__dataclass_fields__
    assert {*view, *view["runs"][0]} == set(fields) - set(Fit.__dataclass_fields__) | {
        "primary",
        "validation",
    }
    for name in fields:
        assert f"`{name}`" in text, f"docs/status.md does not say what {name} is"


MISTAKES: dict[tuple[str, ...], str] = {
    ("nothing",): "nothing: no such sweep in .* there are custom-",
    ("retry", "nothing"): "nothing: no such sweep",
    ("custom", "--watch", "--json"): "leave out one of them",
    ("logs", "custom", "4"): "run 4: custom-.* has the runs 0 to 3",
    ("logs", "custom", "dense-seed"): "by name such as dense-seed",
    ("retry", "custom", "0"): "run 0 is done; only what is missing",
    ("cancel", "custom", "0"): "run 0 is done; there is nothing to cancel",
    ("why", "fit-"): "fit-: several keys begin like that: fit-",
    ("why", "tick"): "tick: several keys",
    ("why", "x"): "x: no such key .* the kinds are fit, init, pruned, ",
    ("--watch", "0"): "0 is not positive",
    ("gc", "--days", "-1"): "-1 is negative",
    ("logs", "custom", "0", "--lines", "x"): "'x' is not a number",
    ("custom", "more"): "unrecognized arguments: more",
}


@pytest.mark.parametrize("arguments", MISTAKES, ids=" ".join)
def test_mistakes_are_answered(
    arguments: tuple[str, ...], finished: Asked, capsys: pytest.CaptureFixture[str]
) -> None:
    answer = status(capsys, finished.store, *arguments)
    assert answer.status == 2
    assert re.search(MISTAKES[arguments], answer.err), answer.err
    assert answer.out == ""


def test_ambiguous_beginnings_name_the_sweeps(
    finished: Asked, capsys: pytest.CaptureFixture[str]
) -> None:
    copied(finished, "custom-00000000", "another")
    answer = status(capsys, finished.store, "custom")
    assert answer.status == 2
    assert "several sweeps begin like that" in answer.err
    assert "custom-00000000" in answer.err


def test_what_is_no_store_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for place, what in ((tmp_path / "x", "is not there"), (tmp_path, "has no sweeps/")):
        answer = status(capsys, place)
        assert answer.status == 2
        assert f"{place} is not a store: it {what}" in answer.err
    (tmp_path / "stages").mkdir()
    answer = status(capsys, tmp_path)
    assert answer.status == 0
    assert f"no sweeps in {tmp_path}" in answer.out


def test_damaged_sweep_is_named(finished: Asked, capsys: pytest.CaptureFixture[str]) -> None:
    file = finished.sweep.folder / "sweep.json"
    file.write_text(file.read_text()[:100])
    answer = status(capsys, finished.store)
    assert answer.status == 2
    assert f"{file} cannot be read" in answer.err


def test_store_of_the_environment(finished: Asked, capfd: pytest.CaptureFixture[str]) -> None:
    process = started(["sparsekit.status"], SPARSEKIT_STORE=str(finished.store))
    printed, errors = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0, errors
    assert "4 done" in printed


def test_options_may_come_first(finished: Asked, capsys: pytest.CaptureFixture[str]) -> None:
    from sparsekit.status.__main__ import main

    assert main(["--store", str(finished.store), "logs", "custom", "1"]) == 0
    assert "0001" in capsys.readouterr().out


def test_whoever_reads_may_stop(finished: Asked) -> None:
    programs: list[list[str]] = [
        ["sparsekit.status", "--json", "--store", str(finished.store)],
        ["sparsekit.report", str(finished.store), "--format", "csv"],
    ]
    for program in programs:
        process = started(program)
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        errors: Any = process.stderr.read()
        process.wait(PATIENCE)
        assert errors == ""
        process.stderr.close()


def test_watching_ends_with_what_is_watched(
    finished: Asked, capsys: pytest.CaptureFixture[str]
) -> None:
    answer = status(capsys, finished.store, "--watch", "0.1")
    assert answer.status == 0
    assert answer.out.count("4 done") == 1
    run = finished.sweep.runs[2]
    (finished.store / "named" / run["experiment"] / f"{run['name']}.json").unlink()
    answer = status(capsys, finished.store, "--watch", "0.1")
    assert answer.status == 1
    assert "3 done, 1 lost" in answer.out
