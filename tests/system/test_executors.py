"""Executors run everything to its end, in order, and list every failure once."""

from __future__ import annotations

import functools
import multiprocessing
import os
import signal
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from sparsekit.store.identity import Stage
from sparsekit.store.store import Store
from sparsekit.system import interruption
from sparsekit.system.executors import Failures, inline, workers
from tests.system.processes import ended, forked, wait_for
from tests.waiting import PATIENCE, wait_until

WAYS = pytest.mark.parametrize("way", ["forked", "spawned"])


two_workers = functools.partial(workers, num_workers=2)
EXECUTORS = pytest.mark.parametrize("executor", [inline, two_workers], ids=["inline", "workers"])
Executor = Callable[[Callable[[str], str], Sequence[str]], list[str]]


def noted(item: str) -> str:
    """`folder:name`: leaves a file behind; fails for names with an x."""
    folder, name = item.split(":")
    unfinished = Path(folder) / f".{name}"
    unfinished.write_text(str(os.getpid()))
    unfinished.rename(Path(folder) / name)  # whoever waits for it reads it at once
    if "x" in name:
        raise ValueError(f"{name} is bad")
    return name.upper()


def deadly(item: str) -> str:
    """As `noted`; names with a k kill the process."""
    if "k" in item.partition(":")[2]:
        os.kill(os.getpid(), signal.SIGKILL)
    return noted(item)


def slow(item: str) -> str:
    folder, name = item.split(":")
    Path(folder, f"{name}.from").write_text(str(os.getppid()))
    noted(item)
    time.sleep(PATIENCE)
    return item


def computed(item: str) -> str:
    """Ensure the same stage as everybody else."""
    stage = Stage("fit", {"epochs": 1})

    def compute(folder: Path) -> None:
        with Path(item, "diary").open("a") as diary:
            diary.write("computed\n")
        time.sleep(0.1)

    return Store(Path(item) / "runs").ensure(stage, compute)


def leaves(item: str) -> str:
    """As `noted`; names with a b leave as somebody does who has not failed."""
    if "b" in item.partition(":")[2]:
        raise Leaving
    return noted(item)


class Leaving(BaseException):
    pass


def unpicklable(item: str) -> str:
    class Odd(Exception):
        def __init__(self, first: str, second: str) -> None:
            super().__init__(first + second)

    raise Odd("very ", "odd")


@EXECUTORS
def test_results_are_in_order(executor: Executor, tmp_path: Path) -> None:
    names = ["d", "b", "a", "c"]
    assert executor(noted, [f"{tmp_path}:{name}" for name in names]) == ["D", "B", "A", "C"]
    assert executor(noted, []) == []


@EXECUTORS
def test_everything_runs_and_every_failure_is_listed(executor: Executor, tmp_path: Path) -> None:
    names = ["x1", "a", "x2", "b", "x3"]
    with pytest.raises(Failures) as raised:
        executor(noted, [f"{tmp_path}:{name}" for name in names])
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(names)
    text = str(raised.value)
    assert text.startswith("3 of 5 fits failed")
    positions = [text.index(f"ValueError: {name} is bad") for name in ("x1", "x2", "x3")]
    assert positions == sorted(positions)
    assert text.count("Traceback") == 3


def test_workers_are_other_processes_and_are_used_again(tmp_path: Path) -> None:
    two_workers(noted, [f"{tmp_path}:{name}" for name in "abcdef"])
    numbers = {path.read_text() for path in tmp_path.iterdir()}
    assert str(os.getpid()) not in numbers
    assert 1 <= len(numbers) <= 2
    assert multiprocessing.active_children() == []


def test_one_item_needs_no_other_process(tmp_path: Path) -> None:
    assert two_workers(noted, [f"{tmp_path}:a"]) == ["A"]
    assert (tmp_path / "a").read_text() == str(os.getpid())


def test_a_worker_that_dies_fails_only_its_own_item(tmp_path: Path) -> None:
    with pytest.raises(Failures) as raised:
        two_workers(deadly, [f"{tmp_path}:{name}" for name in ("a", "k", "b", "x", "c", "d")])
    text = str(raised.value)
    assert text.startswith("2 of 6 fits failed")
    assert text.index("the worker process died") < text.index("ValueError: x is bad")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "b", "c", "d", "x"]


def test_errors_that_cannot_travel_are_listed_too(tmp_path: Path) -> None:
    with pytest.raises(Failures, match="very odd"):
        two_workers(unpicklable, ["a", "b"])


def test_functions_that_cannot_travel_are_failures() -> None:
    with pytest.raises(Failures, match="2 of 2 fits failed"):
        two_workers(lambda item: item, ["a", "b"])


def test_workers_share_the_store(tmp_path: Path) -> None:
    keys = two_workers(computed, [str(tmp_path)] * 4)
    assert len(set(keys)) == 1
    assert (tmp_path / "diary").read_text() == "computed\n"


def gone(path: Path) -> bool:
    try:
        os.kill(int(path.read_text()), 0)
    except ProcessLookupError:
        return True
    return False


@WAYS
@pytest.mark.usefixtures("begun_as")
@pytest.mark.parametrize("listens", [False, True], ids=["deaf", "listening"])
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT], ids=["killed", "interrupted"])
def test_workers_end_with_their_parent(
    tmp_path: Path, number: signal.Signals, listens: bool, way: str
) -> None:
    """So does the interpreter that they were forked from."""

    def run() -> None:
        if listens:
            interruption.listen()
        two_workers(slow, [f"{tmp_path}:a", f"{tmp_path}:b"])

    parent = forked(run)
    wait_for(tmp_path / "a")
    wait_for(tmp_path / "b")
    os.kill(parent, number)
    assert ended(parent) != 0
    assert ((tmp_path / "a.from").read_text() == str(parent)) == (way == "spawned")
    files = [tmp_path / name for name in ("a", "b", "a.from")]
    wait_until(lambda: all(gone(file) for file in files), "something lives on")


@pytest.mark.parametrize("num_workers", [0, -1])
def test_no_workers_is_a_mistake(num_workers: int) -> None:
    with pytest.raises(ValueError, match=f"num_workers={num_workers} is not positive"):
        workers(noted, ["a", "b"], num_workers=num_workers)


@EXECUTORS
def test_who_leaves_without_failing_is_heard_when_all_have_ended(
    executor: Executor, tmp_path: Path
) -> None:
    with pytest.raises(Leaving):
        executor(leaves, [f"{tmp_path}:{name}" for name in ("x", "b", "c", "d")])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["c", "d", "x"]
