"""A signal stops an executor: every item that was begun ends where it can, and none is begun."""

from __future__ import annotations

import os
import random
import signal
import threading
import time
from collections.abc import Callable, Sequence
from multiprocessing import resource_tracker
from pathlib import Path

import pytest

from sparsekit.system import interruption
from sparsekit.system.executors import inline
from sparsekit.system.gpus import VARIABLE
from sparsekit.system.interruption import Stopped
from tests.system.processes import ended, forked, wait_for
from tests.system.test_executors import WAYS, Executor, gone, noted, two_workers
from tests.waiting import wait_until


def stoppable(item: str) -> str:
    """As `noted`, then works until it is asked to end; names with a q are done at once."""
    noted(item)
    folder, name = item.split(":")
    wait_until(lambda: interruption.asked() or "q" in name, "nobody asked", every=0.01)
    Path(folder, f"{name}.saved").touch()
    interruption.check()
    return name.upper()


def dies_when_asked(item: str) -> str:
    try:
        return stoppable(item)
    except Stopped:
        os.kill(os.getpid(), signal.SIGKILL)
        raise


def stopped_run(executor: Executor, function: Callable[[str], str], items: Sequence[str]) -> int:
    """Process number of a group of its own that exits with 75 where the executor was stopped."""

    def run() -> None:
        os.setsid()
        interruption.listen()
        Path(items[0].split(":")[0], "listens").touch()
        try:
            executor(function, items)
        except Stopped as stopped:
            os._exit(75 if stopped.signals else 1)

    return forked(run)


def test_inline_begins_nothing_after_a_stop(tmp_path: Path) -> None:
    parent = stopped_run(inline, stoppable, [f"{tmp_path}:a", f"{tmp_path}:b"])
    wait_for(tmp_path / "a")
    os.kill(parent, signal.SIGUSR2)
    assert ended(parent) == 75
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "a.saved", "listens"]


@WAYS
@pytest.mark.usefixtures("begun_as")
@pytest.mark.parametrize("to", ["parent", "all", "worker"])
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR2])
def test_a_signal_stops_all_workers_and_is_no_failure(
    to: str, number: signal.Signals, tmp_path: Path
) -> None:
    """To a worker alone: the others finish what they are at, the parent says Stopped."""
    names = ["a", "qb" if to == "worker" else "b", "c", "d"]
    parent = stopped_run(two_workers, stoppable, [f"{tmp_path}:{name}" for name in names])
    wait_for(tmp_path / names[0])
    wait_for(tmp_path / names[1])
    if to == "worker":
        wait_for(tmp_path / "c")
        for name in ("a", "c"):
            os.kill(int((tmp_path / name).read_text()), number)
    elif to == "parent":
        os.kill(parent, number)
    else:
        os.killpg(parent, number)
    assert ended(parent) == 75
    begun = sorted(path.name for path in tmp_path.iterdir() if path.suffix != ".saved")
    saved = sorted(path.stem for path in tmp_path.glob("*.saved"))
    assert begun == sorted(["listens", *saved])
    assert saved == (["a", "c", "qb"] if to == "worker" else ["a", "b"])
    assert all(gone(tmp_path / name) for name in saved)


def signalled_in_a_thread(function: Callable[[str], str], items: Sequence[str]) -> list[str]:
    """Two workers; when both are at work a thread beside the main one gets SIGTERM."""
    folder = Path(items[0].split(":")[0])

    def send() -> None:
        wait_for(folder / "a")
        wait_for(folder / "b")
        signal.pthread_kill(threading.get_ident(), signal.SIGTERM)

    threading.Thread(target=send, daemon=True).start()
    return two_workers(function, items)


def test_a_signal_that_another_thread_gets_is_answered_while_fits_run(tmp_path: Path) -> None:
    """It does not wake the main thread, which waits for the fits and alone runs handlers."""
    items = [f"{tmp_path}:a", f"{tmp_path}:b"]
    assert ended(stopped_run(signalled_in_a_thread, stoppable, items)) == 75
    assert {"a.saved", "b.saved"} < {path.name for path in tmp_path.iterdir()}


def test_a_worker_that_dies_of_what_its_parent_was_asked_by_is_no_failure(tmp_path: Path) -> None:
    parent = stopped_run(two_workers, dies_when_asked, [f"{tmp_path}:a", f"{tmp_path}:b"])
    wait_for(tmp_path / "a")
    wait_for(tmp_path / "b")
    os.kill(parent, signal.SIGTERM)
    assert ended(parent) == 75


def children(pid: int) -> set[int]:
    """Numbers of the processes that any thread of a process has started."""
    listings = Path(f"/proc/{pid}/task").glob("*/children")
    return {int(number) for listing in listings for number in listing.read_text().split()}


@WAYS
@pytest.mark.usefixtures("begun_as")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR2])
def test_a_worker_notices_a_signal_that_came_before_it_could_listen(
    number: signal.Signals, way: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its parent was not asked, and would call its death a failure."""
    # Or processes that ask the driver, and keep track of semaphores, would be counted.
    monkeypatch.setenv(VARIABLE, "")
    resource_tracker.ensure_running()
    parent = stopped_run(two_workers, stoppable, [f"{tmp_path}:a", f"{tmp_path}:b"])
    born: set[int] = set()

    def both_are_signalled() -> bool:
        begun = children(parent)
        if way == "forked":
            begun = {pid for interpreter in begun for pid in children(interpreter)}
        for pid in begun - born:
            os.kill(pid, number)
            born.add(pid)
        return len(born) >= 2

    wait_until(both_are_signalled, "no workers are born", every=0)
    assert ended(parent) == 75
    assert [path.name for path in tmp_path.iterdir()] == ["listens"]


@WAYS
@pytest.mark.usefixtures("begun_as")
def test_signals_to_all_processes_stop_workers_at_any_moment_of_their_lives(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """From before they are born; nobody dies, and nothing is complained about."""
    moments = random.Random(0)
    for attempt in range(12):
        folder = tmp_path / str(attempt)
        folder.mkdir()
        parent = stopped_run(two_workers, stoppable, [f"{folder}:{name}" for name in "abc"])
        wait_for(folder / "listens")
        time.sleep(moments.uniform(0, 0.3))
        os.killpg(parent, moments.choice([signal.SIGTERM, signal.SIGUSR2]))
        assert ended(parent) == 75
        begun = {path.name for path in folder.iterdir() if path.suffix != ".saved"}
        assert begun == {"listens", *(path.stem for path in folder.glob("*.saved"))}
    assert capfd.readouterr().err == ""
