"""Answers of SLURM that nobody expected: names of jobs are anybody's."""

from __future__ import annotations

import getpass
import os
from pathlib import Path

import pytest

from sparsekit.sweeps import scheduler
from sparsekit.sweeps.freezing import freeze
from sparsekit.sweeps.jobs import jobs_of
from sparsekit.sweeps.records import Sweep
from sparsekit.sweeps.scheduler import Ended, Queued
from sparsekit.system.files import write_json
from tests.sweeps.asked import asked_for

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
        ("7|RUNNING|None|n1|5|a|/b|c", [Queued("7", "RUNNING", "None", "n1", "a", "5", "/b|c")]),
        ("7_3|PENDING|Priority||5||", [Queued("7_3", "PENDING", "Priority", "", "", "5", "")]),
        ("7_[1-3]|PENDING|Priority||5|a|/b", []),
        ("-1|RUNNING|None|n1|5|a|/b", []),
        (f"7_{'9' * 5000}|RUNNING|None|n1|5|a|/b", []),
        (f"7|RUNNING|None|n1|{'9' * 5000}|a|/b", []),
        ("\N{ARABIC-INDIC DIGIT SEVEN}|RUNNING|None|n1|5|a|/b", []),
        ("7; rm|RUNNING|None|n1|5|a|/b", []),
        ("7|RUNNING|None|n1|a|/b", []),
        ("7||None|n1|5|a|/b", []),
        ("squeue: error: nobody knows", []),
        ("", []),
    ],
)
def test_lines_of_the_queue(line: str, jobs: list[Queued], answer: list[str]) -> None:
    answer.append(line)
    assert scheduler.queue([getpass.getuser()]) == jobs


def test_users_are_asked_for_by_number(answer: list[str]) -> None:
    scheduler.queue([getpass.getuser(), "daemon", "1"])
    numbers = ASKED[0][ASKED[0].index("-u") + 1].split(",")
    assert numbers == sorted({str(os.getuid()), "1"})


@pytest.mark.parametrize("user", ["nobody-has-this-name", "--help", "a,root", "", "123456789"])
def test_everybody_is_asked_for_where_a_user_is_not_known_here(
    user: str, answer: list[str]
) -> None:
    """squeue would print that there is no such user, and exit as if there were no jobs."""
    answer.append("7|RUNNING|None|n1|123456789|a|/b")
    assert scheduler.queue(["daemon", user]) != []
    assert "-u" not in ASKED[0]
    assert user not in ASKED[0]


def test_lines_of_the_accounting(answer: list[str]) -> None:
    answer += ["7|CANCELLED by 0|0:15|a|b", "8||0:0|a", "9|COMPLETED", "|", "10| |0:0|a"]
    assert scheduler.accounts(["7", "8", "9", "10"]) == {"7": Ended("CANCELLED", "0:15", "a|b")}


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
    sweep = freeze(tmp_path, "custom", asked_for(user=getpass.getuser()))
    mine = sweep.submit("runs", ["0000", "0001"])["id"]
    names = [
        sweep.job_name(mine), f"other.{mine}", f"x{sweep.job_name(mine)}", f"{sweep.name}.{mine}",
        f"{sweep.job_name(mine)}.{mine}", mine, sweep.job_name(""),
    ]  # fmt: skip
    rest = f"{os.geteuid()}|{{}}|{os.getcwd()}"
    answer += [f"{n}|RUNNING|None|n1|{rest.format(name)}" for n, name in enumerate(names, 1)]
    assert [one.job for one in jobs_of(sweep)] == ["1"]
    # A place that the array does not have.
    name = sweep.job_name(mine)
    answer += [f"9_{index}|RUNNING|None|n1|{rest.format(name)}" for index in (1, 7)]
    assert [one.job for one in jobs_of(sweep, ["0000", "0001"])] == ["1", "9_1"]


def test_who_submitted_is_asked_for_too(tmp_path: Path) -> None:
    sweep: Sweep = freeze(tmp_path, "custom", asked_for(user="alice"))
    note = sweep.submit("runs", ["0000"])
    assert sweep.users(sweep.submissions()) == (str(os.geteuid()),)
    # As earlier releases wrote it.
    old = {name: value for name, value in note.items() if name not in ("user", "uid")}
    write_json(sweep.folder / "submissions" / "00000000.json", {**old, "id": "00000000"})
    assert sweep.users(sweep.submissions()) == (str(os.geteuid()), "alice")
