"""Workers are forked from one interpreter, which has no threads, and spawned where that fails."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from multiprocessing import forkserver
from pathlib import Path

import numpy
import pytest

from sparsekit.system import forking
from sparsekit.system.executors import workers
from sparsekit.system.gpus import VARIABLE
from sparsekit.system.importing import ThreadsRun, import_to_fork
from tests.system.processes import ended, forked
from tests.system.test_executors import gone, slow, two_workers
from tests.waiting import wait_until

COLD = """
import sys
from pathlib import Path
from sparsekit.system.executors import workers
from tests.system.test_executors import slow
from tests.system.test_forking import born

if __name__ == "__main__":
    folder = sys.argv[1]
    Path(folder, "born").write_text(" ".join(workers(born, ["", ""], num_workers=2)))
    workers(slow, [f"{folder}:a", f"{folder}:b"], num_workers=2)
"""


@pytest.fixture(autouse=True)
def _no_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, "")


def in_a_process(function: Callable[[], object]) -> None:
    """Call a function where no interpreter for workers has been begun."""
    assert ended(forked(function)) == 0


def born(item: str) -> str:
    """Say what a worker was born of: the number of its parent, and whether PyTorch was there."""
    return f"{os.getppid()}:{'torch' in sys.modules}"


def told(item: str) -> str:
    """Say where a worker is, and with which variables."""
    return f"{os.getcwd()}|{os.environ.get('MINE')}|{os.environ.get(forking.THREADS)}"


def drawn(item: str) -> str:
    return repr(numpy.random.random())


def kills_interpreter(item: str) -> str:
    if item == "kill":
        os.kill(os.getppid(), signal.SIGKILL)
    return item


def parents(count: int = 2) -> set[str]:
    """Return the numbers of the processes that `count` workers of one call were begun by."""
    return {one.partition(":")[0] for one in two_workers(born, [""] * count)}


def test_all_calls_fork_from_one_interpreter_that_is_not_this_process() -> None:
    def child() -> None:
        first = parents()
        assert len(first) == 1
        assert first != {str(os.getpid())}
        assert parents(4) == first

    in_a_process(child)


def test_a_worker_is_where_its_call_is_and_has_its_variables(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever they were when the interpreter was begun."""
    monkeypatch.setenv(forking.THREADS, "1")

    def child() -> None:
        parents()
        for value in ("one", "two"):
            folder = tmp_path / value
            folder.mkdir()
            os.chdir(folder)
            os.environ["MINE"] = value
            assert two_workers(told, ["", ""]) == [f"{folder}|{value}|1"] * 2
        del os.environ["MINE"]
        assert two_workers(told, ["", ""]) == [f"{folder}|None|1"] * 2

    in_a_process(child)


def test_a_share_of_the_cores_is_set_for_workers_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(forking.THREADS)
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(7)))

    def child() -> None:
        assert [one.split("|")[-1] for one in two_workers(told, ["", ""])] == ["3", "3"]
        assert forking.THREADS not in os.environ

    in_a_process(child)


def test_modules_of_the_user_are_found_as_they_are_here(tmp_path: Path) -> None:
    (tmp_path / "of_a_user.py").write_text("def loud(item): return item.upper()")

    def child() -> None:
        parents()
        sys.path.insert(0, str(tmp_path))
        from of_a_user import loud  # type: ignore[import-not-found]

        assert two_workers(loud, ["a", "b"]) == ["A", "B"]

    in_a_process(child)


def test_what_is_drawn_without_a_seed_differs_between_workers(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(forking, "PRELOADED", "numpy.random")
    first, other = (workers(drawn, ["", ""], num_workers=1) for _ in range(2))
    assert len({*first, *other}) == 4


def test_an_interpreter_that_is_killed_loses_no_item_and_is_replaced() -> None:
    def child() -> None:
        before = parents()
        assert two_workers(kills_interpreter, ["kill", "a", "b"]) == ["kill", "a", "b"]
        after = parents()
        assert len(after) == 1
        assert after.isdisjoint({*before, str(os.getpid())})

    in_a_process(child)


def test_other_numbers_of_threads_and_forks_of_this_process_are_spawned(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The interpreter has read the variable; and it belongs to the process that has begun it."""
    monkeypatch.setenv(forking.THREADS, "1")

    def child() -> None:
        me, interpreter = {str(os.getpid())}, parents()
        assert interpreter != me
        os.environ[forking.THREADS] = "2"
        assert parents() == me
        os.environ[forking.THREADS] = "1"
        assert parents() == interpreter
        pid = os.fork()
        if pid == 0:
            os._exit(int(parents() != {str(os.getpid())}))
        assert ended(pid) == 0

    in_a_process(child)


def test_where_gpus_are_visible_workers_are_spawned(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, "0,1")
    in_a_process(lambda: _assert_equal(parents(), {str(os.getpid())}))


def _assert_equal(one: object, other: object) -> None:
    assert one == other


@pytest.mark.parametrize("text", ["run threads", "are interrupted"])
def test_where_imports_leave_threads_or_are_interrupted_workers_are_spawned(
    text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """Nobody waits for the interpreter a second time."""
    source = {
        "run threads": "from threading import *\nThread(target=Event().wait, daemon=True).start()",
        "are interrupted": "raise KeyboardInterrupt",
    }[text]
    (tmp_path / "preloads.py").write_text(
        "from pathlib import Path\n"
        "from sparsekit.system import importing\n"
        f"with open({str(tmp_path / 'imports')!r}, 'a') as file: file.write('once ')\n"
        "importing.TRAINING = ('imports_of_a_fit',)\n"
        "import sparsekit.system.preloaded"
    )
    (tmp_path / "imports_of_a_fit.py").write_text(source)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path), prepend=os.pathsep)
    monkeypatch.setattr(forking, "PRELOADED", "preloads")

    def child() -> None:
        for _ in range(2):
            found = workers(born, ["", ""], num_workers=1)
            assert {one.partition(":")[0] for one in found} == {str(os.getpid())}

    in_a_process(child)
    assert (tmp_path / "imports").read_text() == "once "
    said = "workers import everything anew: 2 threads run when imports_of_a_fit are imported\n"
    assert capfd.readouterr().err == (said if text == "run threads" else "")


def test_without_room_for_a_socket_workers_are_spawned(monkeypatch: pytest.MonkeyPatch) -> None:
    def refused() -> None:
        raise OSError("AF_UNIX path too long")

    monkeypatch.setattr(forkserver, "ensure_running", refused)
    in_a_process(lambda: _assert_equal(parents(), {str(os.getpid())}))


def test_what_only_forks_has_one_thread() -> None:
    def child() -> None:
        import_to_fork(["json"])
        threading.Thread(target=threading.Event().wait, daemon=True).start()
        with pytest.raises(ThreadsRun, match="2 threads run when json are imported"):
            import_to_fork(["json"])

    in_a_process(child)


def test_a_real_interpreter_has_imported_pytorch_and_ends_with_a_killed_parent(
    tmp_path: Path,
) -> None:
    """Of a program of its own, nothing of which is forked from this process."""
    script = tmp_path / "cold.py"
    script.write_text(COLD)
    parent = subprocess.Popen((sys.executable, str(script), str(tmp_path)))
    names = [tmp_path / name for name in ("a", "b", "a.from")]
    wait_until(lambda: all(name.exists() for name in names), "nobody works")
    interpreter = names[-1].read_text()
    assert set((tmp_path / "born").read_text().split()) == {f"{interpreter}:True"}
    assert interpreter != str(parent.pid)
    parent.kill()
    parent.wait()
    wait_until(lambda: all(gone(name) for name in names), "something lives on")


def importing_until(fifo: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Let the interpreter import until `fifo` is opened to be written; return where its number
    will be."""
    folder, file = fifo.parent, fifo.with_name("importing")
    (folder / "preloads.py").write_text(
        "import os\n"
        "from pathlib import Path\n"
        f"Path({str(file)!r}).write_text(str(os.getpid()))\n"
        f"os.open({str(fifo)!r}, os.O_RDONLY)\n"
    )
    os.mkfifo(fifo)
    monkeypatch.setenv("PYTHONPATH", str(folder), prepend=os.pathsep)
    monkeypatch.setattr(forking, "PRELOADED", "preloads")
    return file


def test_a_parent_that_is_killed_while_its_interpreter_imports_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = importing_until(tmp_path / "killed", monkeypatch)

    def child() -> None:
        workers(slow, [f"{tmp_path}:a", f"{tmp_path}:b"], num_workers=2)

    parent = forked(child)
    wait_until(lambda: file.exists() and file.read_text() != "", "it does not begin")
    os.kill(parent, signal.SIGKILL)
    assert ended(parent) == -signal.SIGKILL
    os.close(os.open(tmp_path / "killed", os.O_WRONLY))
    wait_until(lambda: gone(file), "the interpreter lives on")
    for name in ("a", "b"):
        assert not (tmp_path / name).exists() or gone(tmp_path / name)


def test_ctrl_c_while_the_interpreter_imports_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Sent to this process alone: workers that are born afterwards are killed at once."""
    file = importing_until(tmp_path / "go", monkeypatch)

    def child() -> None:
        with pytest.raises(KeyboardInterrupt):
            workers(slow, [f"{tmp_path}:a", f"{tmp_path}:b"], num_workers=2)

    parent = forked(child)
    wait_until(lambda: file.exists() and file.read_text() != "", "it does not begin")
    os.kill(parent, signal.SIGINT)
    os.close(os.open(tmp_path / "go", os.O_WRONLY))
    assert ended(parent) == 0
    wait_until(lambda: gone(file), "the interpreter lives on")
