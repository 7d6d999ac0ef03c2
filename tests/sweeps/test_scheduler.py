"""Answers of SLURM that nobody expected: names of jobs are anybody's."""

from __future__ import annotations

import getpass
import os
from pathlib import Path

import pytest

from sparsekit.sweeps import scheduler
from sparsekit.sweeps.controller import jobs_of
from sparsekit.sweeps.records import Sweep, freeze
from sparsekit.sweeps.scheduler import Ended, Queued

ASKED: list[tuple[str, ...]] = []


@pytest.fixture
def answer(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What `squeue` and `sacct` print, line by line."""
    lines: list[str] = []

    def ask(*command: str, survive: bool = False, seconds: float = 0.0) -> str:
        ASKED[:] = [command]
        return "\n".join(lines)

    monkeypatch.setattr(scheduler, "ask", ask)
    return lines


@pytest.mark.parametrize(
    ("line", "jobs"),
    [
        ("7|RUNNING|None|n1|a|b", [Queued("7", "RUNNING", "None", "n1", "a|b")]),
        ("7_3|PENDING|Priority||", [Queued("7_3", "PENDING", "Priority", "", "")]),
        ("7_[1-3]|PENDING|Priority||a", []),
        ("-1|RUNNING|None|n1|a", []),
        ("7; rm|RUNNING|None|n1|a", []),
        ("7|RUNNING|None|n1", []),
        ("7||None|n1|a", []),
        ("squeue: error: nobody knows", []),
        ("", []),
    ],
)
def test_lines_of_the_queue(line: str, jobs: list[Queued], answer: list[str]) -> None:
    answer.append(line)
    assert scheduler.queue([getpass.getuser()]) == jobs


def test_users_are_asked_for_by_number(answer: list[str]) -> None:
    users = [getpass.getuser(), "nobody-has-this-name", "daemon", "--help", "a,root", "1234"]
    scheduler.queue(users)
    numbers = ASKED[0][ASKED[0].index("-u") + 1].split(",")
    assert numbers == sorted({str(os.getuid()), "1", "1234"})
    assert scheduler.queue(["nobody-has-this-name"]) == []


def test_lines_of_the_accounting(answer: list[str]) -> None:
    answer += ["7|CANCELLED by 0|0:15", "8||0:0", "9|COMPLETED", "|", "10| |0:0"]
    assert scheduler.accounts(["7", "8", "9", "10"]) == {"7": Ended("CANCELLED", "0:15")}


@pytest.mark.parametrize(
    ("printed", "seconds"),
    [
        ("1-02:03:04", 93784.0),
        ("02:03:04", 7384.0),
        ("2:00", 120.0),
        ("0:00", 0.0),
        ("UNLIMITED", None),
        ("INVALID", None),
        ("", None),
    ],
)
def test_the_time_that_is_left(printed: str, seconds: float | None, answer: list[str]) -> None:
    answer.append(f"{printed}\n")
    assert scheduler.seconds_left("7") == seconds


def test_jobs_of_other_names_are_not_of_the_sweep(tmp_path: Path, answer: list[str]) -> None:
    content = {"user": getpass.getuser(), "runs": [{"experiment": "custom", "name": "dense"}]}
    sweep = freeze(tmp_path, "custom", content)
    mine = sweep.submit("runs", ["0000", "0001"])["id"]
    names = [
        sweep.job_name(mine), f"other.{mine}", f"x{sweep.job_name(mine)}", f"{sweep.name}.{mine}",
        f"{sweep.job_name(mine)}.{mine}", mine, sweep.job_name(""),
    ]  # fmt: skip
    answer += [f"{number}|RUNNING|None|n1|{name}" for number, name in enumerate(names, 1)]
    assert jobs_of(sweep) == ["1"]
    # A place that the array does not have.
    answer += [f"9_{index}|RUNNING|None|n1|{sweep.job_name(mine)}" for index in (1, 7)]
    assert jobs_of(sweep, ["0000", "0001"]) == ["1", "9_1"]


def test_who_submitted_is_asked_for_too(tmp_path: Path) -> None:
    content = {"user": "alice", "runs": [{"experiment": "custom", "name": "dense"}]}
    sweep: Sweep = freeze(tmp_path, "custom", content)
    sweep.submit("runs", ["0000"])
    assert sweep.users(sweep.submissions()) == tuple(sorted({"alice", getpass.getuser()}))
