"""What a job does is what was submitted, whatever lies in the sweep's folder when it begins."""

from __future__ import annotations

import os
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sparsekit.sweeps import entries, job
from sparsekit.sweeps.entries import Entry, fit_entry, read_entry, run_entry, write_entries
from sparsekit.sweeps.freezing import freeze
from sparsekit.sweeps.records import Sweep
from sparsekit.sweeps.trust import code_digest
from sparsekit.system.files import write_json
from tests.sweeps.asked import asked_for

CONFIG = {"config": {"seed": 0}}
WRITTEN = [run_entry(0), run_entry(7)]


class Bomb:
    """Unpickled, it leaves a file behind."""

    def __init__(self, sign: Path) -> None:
        self.sign = sign

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[str]]:
        return os.mkdir, (str(self.sign),)


def spoiled(file: Path, how: str) -> None:
    content = file.read_bytes()
    file.unlink()
    if how == "a pickle":
        file.write_bytes(pickle.dumps(Bomb(file.with_name("sign"))))
    elif how == "another run":
        file.write_bytes(content.replace(b"7", b"8"))
    elif how == "cut":
        file.write_bytes(content[:-9])
    elif how == "empty":
        file.touch()
    elif how == "a pipe":
        os.mkfifo(file)
    elif how == "a folder":
        file.mkdir()
    elif how == "a link to itself":
        file.symlink_to(file)


SPOILED = (
    "a pickle", "another run", "cut", "empty", "a pipe", "a folder", "a link to itself", "missing"
)  # fmt: skip


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(entries, "SECONDS_UNTIL_SEEN", 0.0)


def test_each_job_of_an_array_reads_its_own(tmp_path: Path) -> None:
    digest = write_entries(tmp_path / "jobs" / "0a.json", WRITTEN)
    assert [read_entry(tmp_path / "jobs" / "0a.json", n, digest) for n in range(2)] == WRITTEN


@pytest.fixture
def sweep(tmp_path: Path) -> Sweep:
    return freeze(tmp_path, "custom", asked_for(CONFIG))


def submitted(sweep: Sweep, *entries: Entry) -> list[str]:
    """Arguments of a job that is to do these."""
    coded = [{**entry, "code": code_digest(sweep)} for entry in entries]
    return [str(sweep.folder), "0a", write_entries(sweep.folder / "jobs" / "0a.json", coded)]


def test_a_job_acts_as_it_was_submitted(sweep: Sweep, monkeypatch: pytest.MonkeyPatch) -> None:
    done = []
    monkeypatch.setattr(job, "ACTS", {"fit": lambda *given, **named: done.append((given, named))})
    arguments = submitted(sweep, *WRITTEN, fit_entry("0007.fit-0", {}))
    monkeypatch.setenv("SLURM_ARRAY_TASK_ID", "2")
    assert job.main(arguments) == 0
    assert done == [((sweep.folder,), {"member": "0007.fit-0", "item": {}})]


def test_a_job_refuses_a_sweep_that_others_changed_since(
    sweep: Sweep, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    done = []
    monkeypatch.setattr(job, "ACTS", {"run": lambda *given, **named: done.append(named)})
    arguments = submitted(sweep, *WRITTEN)
    # Frozen again by the same user, as by the same command with another limit of time.
    changed = {**sweep.frozen, "runs": [{**sweep.runs[0], "differs": {"minutes": "7"}}]}
    again = freeze(sweep.root, "custom", changed)
    assert job.main(arguments) == 0
    assert done == [{"number": 0}]
    write_json(again.folder / "sweep.json", {**again.frozen, "cluster": {"_target_": "os.system"}})
    assert job.main(arguments) == job.REFUSED
    assert "changed since this was submitted" in capsys.readouterr().err
    assert len(done) == 1


@pytest.mark.parametrize("how", SPOILED)
def test_what_is_not_what_was_submitted_is_refused_in_one_line(
    how: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(job, "ACTS", {})
    file = tmp_path / "jobs" / "0a.json"
    digest = write_entries(file, WRITTEN)
    spoiled(file, how)
    assert job.main([str(tmp_path), "0a", digest]) == job.REFUSED
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("refused: ")
    assert str(file) in line
    assert not file.with_name("sign").exists()
