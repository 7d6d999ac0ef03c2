"""The same runs, asked for at once by several processes that compute them themselves."""

from __future__ import annotations

import contextlib
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.status.sweeps import Asked, started
from tests.waiting import PATIENCE, wait_until

Command = subprocess.Popen[str]


@pytest.fixture
def asked(tmp_path: Path) -> Asked:
    return Asked(tmp_path)


@contextlib.contextmanager
def one_waits_for_the_other(asked: Asked) -> Iterator[tuple[Command, Command]]:
    """The command that is in the midst of its first run, and the one that waits for it."""
    asked.hold()
    with asked.elsewhere("cluster=inline") as first:
        wait_until(lambda: asked.has_begun("0000"), "no run begins")
        second = started(["sparsekit.run", *asked.typed("cluster=inline")])
        told(second, f"another process is at work on it: process {first.pid} on ")
        yield first, second


def told(process: Command, text: str) -> None:
    """Wait until a process has printed a line with `text`."""
    assert process.stderr is not None
    for line in process.stderr:
        if text in line:
            return
    raise AssertionError(f"it ended without {text!r}")


def test_the_second_of_two_waits_for_the_first_and_ends_like_it(asked: Asked) -> None:
    with one_waits_for_the_other(asked) as (first, second):
        asked.release()
        printed = [process.communicate(timeout=PATIENCE)[0] for process in (first, second)]
        assert [first.returncode, second.returncode] == [0, 0]
    assert asked.states() == ["done", "done"]
    assert all("validation" in text for text in printed), "each prints the table"


def test_who_waits_goes_on_when_the_other_is_killed(asked: Asked) -> None:
    with one_waits_for_the_other(asked) as (first, second):
        first.kill()
        asked.release()
        second.communicate(timeout=PATIENCE)
        assert second.returncode == 0
    assert asked.states() == ["done", "done"]


def test_processes_of_a_command_that_wait_say_for_whom(asked: Asked) -> None:
    asked.hold()
    with asked.elsewhere("cluster=inline") as first:
        wait_until(lambda: asked.has_begun("0000"), "no run begins")
        second = started(["sparsekit.run", *asked.typed("cluster=local")])
        told(second, f"waits: another process is at work on it: process {first.pid} on ")
        asked.release()
        for process in (first, second):
            process.communicate(timeout=PATIENCE)
            assert process.returncode == 0
    assert asked.states() == ["done", "done"]


def test_who_waits_leaves_what_is_cancelled_meanwhile(asked: Asked) -> None:
    with one_waits_for_the_other(asked) as (first, second):
        asked.sweep.cancel(["0000"])
        first.kill()
        asked.release()
        _, errors = second.communicate(timeout=PATIENCE)
        assert second.returncode == 1
        assert "cancelled" in errors
    assert asked.states() == ["cancelled", "done"]
