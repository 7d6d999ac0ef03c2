"""The command behind a number composes to the run that it is from; the rest of its provenance."""

from __future__ import annotations

import dataclasses
import shlex
from pathlib import Path

import pytest

from sparsekit.configuration.compose import compose_runs
from sparsekit.report.collect import collect
from sparsekit.report.commands import command_of, provenance_of
from sparsekit.report.records import plain_rows
from sparsekit.runs.planning import plan_run
from sparsekit.runs.recording import record
from sparsekit.runs.runner import PreparedRun, prepare_run
from sparsekit.store.named import read_record
from tests.report.writer import Writer, output

CODE = {"commit": "1a2b", "changed": True}


def recorded(prepared: PreparedRun, **origin: object) -> Path:
    one = dataclasses.replace(prepared, origin=origin)
    return Path(record(one, [], status="done")["path"])


def typed(command: str) -> list[str]:
    program = "python -m sparsekit.run "
    assert command.startswith(program)
    return shlex.split(command.removeprefix(program))


def test_the_command_of_one_run_of_a_sweep_plans_the_same_addresses(tmp_path: Path) -> None:
    asked = ["+experiment=quickstart", "method=one_shot", "seed=1", f"runtime.store={tmp_path}"]
    runs = compose_runs([*asked, "label='the short one'", "cluster=local"])
    assert len(runs) > 1, "of several sparsities"
    prepared = prepare_run(runs[2])
    words = typed(command_of(read_record(recorded(prepared))))
    assert not any(word.startswith(("label", "cluster")) for word in words)
    (again,) = compose_runs(words)
    found = prepare_run(again)
    assert (found.name, again.variant) == (prepared.name, runs[2].variant)
    assert [one.key for one in plan_run(found)] == [one.key for one in plan_run(prepared)]


def test_folders_of_configurations_are_in_it(tmp_path: Path) -> None:
    origin = {
        "created": 1.0,
        "command": "python -m sparsekit.run --config-dir mine -cd=/else method=mine",
        "folder": "/home/me",
    }
    content = {"overrides": ["method=mine", "sweep=[]"], "origins": [origin]}
    assert typed(command_of(content)) == [
        "--config-dir", "/home/me/mine", "--config-dir", "/else", "method=mine", "sweep=[]",
    ]  # fmt: skip


def test_launches_are_noted_in_order_and_once(tmp_path: Path) -> None:
    (run,) = compose_runs(["method=dense", f"runtime.store={tmp_path}"])
    prepared = prepare_run(run)
    recorded(prepared, created=1.0, command="a", code=CODE)
    recorded(prepared, created=2.0, command="a", code=CODE)
    file = recorded(prepared, created=3.0, command="b", code=CODE)
    recorded(prepared)
    assert [(o["created"], o["command"]) for o in read_record(file)["origins"]] == [
        (1.0, "a"),
        (3.0, "b"),
    ]


def test_how_a_number_was_made(writer: Writer, capsys: pytest.CaptureFixture[str]) -> None:
    key = writer.ticket("imp", 0.9, 0.8, seconds=7.0)
    origins = [
        {"created": 1.0, "command": "the first", "user": "me", "code": CODE},
        {"created": 9e9, "command": "one that computed nothing", "user": "me", "code": CODE},
    ]
    writer.record("imp", 3, [(0.8, key)], overrides=["method=imp", "seed=3"], origins=origins)
    told = provenance_of(collect([writer.store.root])[0])
    assert told["command as given"] == "the first"
    assert told["code"] == "commit 1a2b, with changes that were not committed"
    assert all(f"{name} " in told["versions"] for name in ("python", "torch", "sparsekit"))
    assert " cores" in told["machine"]
    assert told["cost"] == "7.0 s for its own fits, 7.0 s with all before"
    assert key in told["stage"]
    shown = output(capsys, writer.store.root, "--commands", "--provenance").splitlines()
    assert shown.count(f"imp at 80.00 %, seed 3: {key}") == 2
    assert "  python -m sparsekit.run method=imp seed=3 'sweep=[]'" in shown
    assert "  command as given: the first" in shown
    (row,) = plain_rows([writer.store.root])
    assert f"  {row['command']}" in shown


def test_old_results_say_what_they_know(writer: Writer) -> None:
    writer.record("imp", 3, [(0.8, writer.ticket("imp", 0.9, 0.8))])
    told = provenance_of(collect([writer.store.root])[0])
    assert (told["command as given"], told["asked for"], told["code"]) == ("", "", "")
    assert told["finished"]
