"""Signals set a flag in the process that listens, whatever it waits for, and in no other."""

from __future__ import annotations

import multiprocessing
import os
import pickle
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import pytest

from sparsekit.system import interruption
from sparsekit.system.interruption import Stopped
from tests.system.processes import ended, forked, wait_for
from tests.waiting import PATIENCE, wait_until

LISTENER = """
import sys, time
from sparsekit.system import interruption
print("born", flush=True)
sys.stdin.readline()
interruption.listen()
print(*interruption.received(), flush=True)
"""


def send(number: int) -> None:
    os.kill(os.getpid(), number)


def in_a_child(function: Callable[[], object]) -> None:
    assert ended(forked(function)) == 0


@pytest.mark.parametrize("number", interruption.SIGNALS)
def test_who_does_not_listen_is_never_asked(number: signal.Signals) -> None:
    assert not interruption.listening()
    assert not interruption.asked()
    interruption.check()
    assert ended(forked(lambda: send(number))) == -number


def test_names_are_in_order_of_arrival_once_each() -> None:
    def child() -> None:
        interruption.listen()
        interruption.check()
        assert interruption.received() == ()
        for number in (signal.SIGUSR2, signal.SIGTERM, signal.SIGUSR2):
            send(number)
        assert interruption.received() == ("SIGUSR2", "SIGTERM")
        with pytest.raises(Stopped, match="asked to end by SIGUSR2, SIGTERM") as raised:
            interruption.check()
        assert raised.value.signals == ("SIGUSR2", "SIGTERM")

    in_a_child(child)


def test_nothing_that_handles_errors_catches_a_stop_and_it_travels() -> None:
    assert not issubclass(Stopped, Exception)
    travelled = pickle.loads(pickle.dumps(Stopped(("SIGTERM",))))
    assert travelled.signals == ("SIGTERM",)
    assert str(travelled) == "asked to end by SIGTERM"


def test_listening_again_replaces_handlers_and_forgets_nothing() -> None:
    def child() -> None:
        interruption.listen()
        send(signal.SIGUSR2)
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        signal.signal(signal.SIGUSR2, lambda number, frame: sys.exit(1))
        interruption.listen()
        send(signal.SIGTERM)
        assert interruption.received() == ("SIGUSR2", "SIGTERM")

    in_a_child(child)


def test_a_terminal_that_closes_asks_unless_that_is_ignored() -> None:
    def child() -> None:
        interruption.listen()
        send(signal.SIGHUP)
        assert interruption.received() == ("SIGHUP",)

    def under_nohup() -> None:
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        child_of_nohup()

    def child_of_nohup() -> None:
        interruption.listen()
        send(signal.SIGHUP)
        assert not interruption.asked()

    in_a_child(child)
    in_a_child(under_nohup)


def test_only_the_main_thread_can_listen() -> None:
    with ThreadPoolExecutor(1) as pool:
        error = pool.submit(interruption.listen).exception()
    assert isinstance(error, ValueError)
    assert not interruption.listening()


def test_a_forked_child_is_another_process() -> None:
    def child() -> None:
        interruption.listen()
        send(signal.SIGTERM)
        in_a_child(grandchild)
        assert interruption.received() == ("SIGTERM",)

    def grandchild() -> None:
        assert not interruption.asked()
        send(signal.SIGUSR2)  # the handler it has inherited does nothing
        assert interruption.received() == ()
        interruption.listen()
        assert interruption.received() == ()
        send(signal.SIGUSR2)
        assert interruption.received() == ("SIGUSR2",)

    in_a_child(child)


def test_forgotten_signals_do_what_they_do_by_default() -> None:
    def child() -> None:
        interruption.listen()
        send(signal.SIGTERM)
        interruption.forget()
        assert not interruption.asked()
        send(signal.SIGTERM)

    assert ended(forked(child)) == -signal.SIGTERM


WAITS = {
    "sleep": lambda: time.sleep(PATIENCE),
    "event": lambda: threading.Event().wait(PATIENCE),
    "future": lambda: Future().exception(PATIENCE),  # type: ignore[var-annotated]
    # It ends when this process is gone, and with it the other end of the pipe.
    "process": lambda: subprocess.run("cat", stdin=os.pipe()[0]),
}


@pytest.mark.parametrize("wait", WAITS.values(), ids=WAITS)
def test_a_signal_is_noticed_while_the_main_thread_waits(wait: Callable[[], object]) -> None:
    """Seen by a thread beside it at once; the main thread goes on waiting."""

    def child() -> None:
        interruption.listen()
        threading.Thread(target=watch, daemon=True).start()
        wait()
        os._exit(1)

    def watch() -> None:
        time.sleep(0.3)
        assert not interruption.asked()
        send(signal.SIGTERM)
        wait_until(interruption.asked, "nobody notices")
        os._exit(0)

    in_a_child(child)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR2])
@pytest.mark.parametrize("parent_listens", [True, False])
def test_a_process_started_while_signals_are_held_notices_them_later(
    number: signal.Signals, parent_listens: bool
) -> None:
    def child() -> None:
        if parent_listens:
            interruption.listen()
        with interruption.held():
            process = subprocess.Popen(
                (sys.executable, "-c", LISTENER),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            )
        assert process.stdout is not None
        assert process.stdout.readline() == "born\n"
        process.send_signal(number)
        if not parent_listens:
            assert process.wait() == -number
            return
        output, _ = process.communicate("listen\n")
        assert output.split() == [number.name]
        assert process.returncode == 0
        send(signal.SIGTERM)  # nothing is held any longer here
        assert interruption.asked()

    in_a_child(child)


def tell_when_asked(folder: str) -> None:
    interruption.listen()
    Path(folder, "listens").touch()
    while not interruption.asked():
        time.sleep(0.01)
    Path(folder, interruption.received()[0]).touch()


@pytest.mark.parametrize("begun", ["before the signal", "after the signal"])
def test_children_are_asked_when_their_parent_is(begun: str, tmp_path: Path) -> None:
    def child() -> None:
        interruption.listen()
        process = multiprocessing.get_context("fork").Process(
            target=tell_when_asked, args=(str(tmp_path),)
        )
        with interruption.passed_on():
            if begun == "before the signal":
                process.start()
                wait_for(tmp_path / "listens")
                time.sleep(0.3)
                assert process.is_alive()
            send(signal.SIGUSR2)
            if begun == "after the signal":
                time.sleep(0.3)
                process.start()
            process.join(PATIENCE)
        assert process.exitcode == 0
        assert (tmp_path / "SIGTERM").exists()
        assert interruption.received() == ("SIGUSR2",)

    in_a_child(child)
