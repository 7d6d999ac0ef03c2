"""Processes that are forked from an interpreter that has imported what they need."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from sparsekit.system.warm import Cold, Process, Warm, adopting
from tests.waiting import wait_until

ASKED = """
import json, os, sys

print("sums" in sys.modules, sys.argv[1:], os.environ["SLOT"], os.getpgid(0) == os.getpid())
print("told", file=sys.stderr)
sys.stdin.read()
if sys.argv[1] == "wait":
    import time
    print("waiting", flush=True)
    time.sleep(600)
sys.exit(int(sys.argv[1]) if sys.argv[1].isdigit() else sys.argv[1])
"""
BUSY = "from threading import *\nThread(target=Event().wait, daemon=True).start()"
Begin = Callable[..., Process]


@pytest.fixture
def modules(tmp_path: Path) -> dict[str, str]:
    """The environment in which `asked` can be run, and `sums` and `broken` imported."""
    for name, text in {
        "asked": ASKED,
        "sums": "",
        "broken": "raise ImportError",
        "busy": BUSY,
    }.items():
        (tmp_path / f"{name}.py").write_text(text)
    paths = [str(tmp_path), *filter(None, [os.environ.get("PYTHONPATH")])]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}


@pytest.fixture
def warm(modules: dict[str, str]) -> Iterator[Warm]:
    with adopting() as is_possible:
        assert is_possible
        interpreter = Warm(["sums"], modules)
        wait_until(interpreter.is_ready, "it never is")
        yield interpreter
        interpreter.close()


@pytest.fixture
def begin(warm: Warm, tmp_path: Path) -> Begin:
    def begun(*arguments: str, slot: str = "0", log: str = "log") -> Process:
        with open(tmp_path / log, "wb") as file:
            return warm.begin("asked", arguments, {"SLOT": slot}, file)

    return begun


def test_it_begins_warm_with_arguments_environment_and_log_of_its_own(
    begin: Begin, tmp_path: Path
) -> None:
    processes = [begin(f"{n}", "a b", slot=f"slot {n}", log=f"log{n}") for n in range(3)]
    assert [process.wait() for process in processes] == [0, 1, 2]
    for number in range(3):
        said = f"True ['{number}', 'a b'] slot {number} True"
        assert sorted((tmp_path / f"log{number}").read_text().splitlines()) == [said, "told"]


@pytest.mark.parametrize(("exit_with", "status", "said"), [("3", 3, ""), ("why", 1, "why")])
def test_its_end_is_that_of_a_program(
    exit_with: str, status: int, said: str, begin: Begin, tmp_path: Path
) -> None:
    assert begin(exit_with).wait() == status
    assert (tmp_path / "log").read_text().endswith(said and f"{said}\n")


def test_an_error_is_told_with_its_place(warm: Warm, tmp_path: Path) -> None:
    with open(tmp_path / "log", "wb") as file:
        assert warm.begin("broken", [], {}, file).wait() == 1
    assert "raise ImportError" in (tmp_path / "log").read_text()


def test_it_is_asked_to_end_and_killed_like_any_other(begin: Begin, tmp_path: Path) -> None:
    for number, end in ((15, Process.terminate), (9, lambda one: os.kill(one.pid, signal.SIGKILL))):
        process = begin("wait")
        wait_until(lambda: "waiting" in (tmp_path / "log").read_text(), "it does not begin")
        assert process.poll() is None
        end(process)
        assert process.wait() == -number
        process.terminate()  # of one that has ended
        assert process.poll() == -number


def test_what_it_has_forked_outlives_it(warm: Warm, begin: Begin, tmp_path: Path) -> None:
    process = begin("wait")
    warm.process.kill()
    warm.process.wait()
    with pytest.raises(Cold):
        begin("0", log="other")
    wait_until(lambda: "waiting" in (tmp_path / "log").read_text(), "it does not begin")
    assert process.poll() is None
    process.terminate()
    assert process.wait() == -signal.SIGTERM


@pytest.mark.parametrize("names", [["broken"], ["busy"], ["sums", "no_such_module"]])
def test_what_cannot_be_imported_or_runs_threads_leaves_it_cold(
    names: Sequence[str], modules: dict[str, str]
) -> None:
    interpreter = Warm(names, modules)

    def is_cold() -> bool:
        try:
            interpreter.is_ready()
        except Cold:
            return True
        return False

    wait_until(is_cold, "it does not say so")
    interpreter.close()
