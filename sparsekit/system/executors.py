"""Where the fits of a cycle run: here, or in worker processes on this machine."""

from __future__ import annotations

import concurrent.futures
import contextlib
import dataclasses
import multiprocessing
import os
import queue
import threading
import traceback
from collections.abc import Callable, Iterable, Sequence
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from typing import Any, Protocol

from sparsekit.system import forking, interruption
from sparsekit.system.forking import THREADS, Start
from sparsekit.system.gpus import VARIABLE, visible_gpus
from sparsekit.system.leaving import leave
from sparsekit.system.refusals import refusal_in
from sparsekit.system.streams import outlive_readers


class Executor(Protocol):
    """Results in order; runs all items to their end, then raises one error with every failure.

    If an item raises something that is not an Exception, such as Stopped, that is not a failure: it
    is raised unchanged when all items have ended. Once the process is asked to end, no item begins.
    """

    def __call__(self, function: Callable[[Any], str], items: Sequence[Any]) -> list[str]: ...


class Failures(RuntimeError):
    """Some items failed; every one of them is listed with its traceback."""


def inline(function: Callable[[Any], str], items: Sequence[Any]) -> list[str]:
    """Call `function` on `items` one after the other, in this process; return the results.

    >>> inline(str.upper, ["a", "b"])
    ['A', 'B']
    """
    return _gather(_attempt(function, item) for item in items)


def workers(
    function: Callable[[Any], str], items: Sequence[Any], *, num_workers: int, per_gpu: int = 1
) -> list[str]:
    """Call `function` on `items` in `num_workers` processes; return the results in item order.

    They are forked from one interpreter, which is kept for further calls, or spawned where that is
    not safe (`forking.begin`). A worker that dies fails only its current item; the others continue.
    Workers end with the process that started them, however it ends, and are asked to end when it
    is. They share the processor's cores, unless OMP_NUM_THREADS is set. If there are GPUs, every
    worker sees one of them, and `per_gpu` workers share it.

    ValueError for more workers than the GPUs take, before anything runs.
    """
    if num_workers < 1:
        raise ValueError(f"num_workers={num_workers} is not positive")
    if per_gpu < 1:
        raise ValueError(f"per_gpu={per_gpu} is not positive")
    # Not where there is nothing to do: settings are also checked on machines without the GPUs.
    gpus = _assigned(visible_gpus(), num_workers, per_gpu) if items else ()
    if len(items) <= 1:
        return inline(function, items)
    with interruption.passed_on():
        return _in_processes(function, items, gpus[: len(items)])


def _assigned(gpus: Sequence[str], num_workers: int, per_gpu: int) -> tuple[str | None, ...]:
    """Assign a GPU to each worker, in turn; None if there are no GPUs."""
    if not gpus:
        return (None,) * num_workers
    if num_workers > per_gpu * len(gpus):
        raise ValueError(
            f"num_workers={num_workers} is more than {len(gpus)} visible GPUs take with "
            f"per_gpu={per_gpu}; start at most {per_gpu * len(gpus)} workers, raise per_gpu, or "
            f"hide the GPUs with {VARIABLE}="
        )
    return tuple(gpus[number % len(gpus)] for number in range(num_workers))


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What came of an item: a result, the traceback of a failure, or an end that is not one."""

    result: str | None = None
    failure: str | None = None
    end: BaseException | None = None


@dataclasses.dataclass
class Worker:
    """A process that computes one item after another, begun when it is first needed.

    It is spoken to through a pipe: a queue needs semaphores, and so space in /dev/shm.
    """

    start: Start
    process: BaseProcess | None = None
    line: Connection | None = None


@dataclasses.dataclass
class Workers:
    """Those of one call; `are_unwanted`: what they compute is, and who is born now is killed."""

    idle: queue.SimpleQueue[Worker] = dataclasses.field(default_factory=queue.SimpleQueue)
    are_unwanted: bool = False


def _in_processes(
    function: Callable[[Any], str], items: Sequence[Any], gpus: Sequence[str | None]
) -> list[str]:
    """Call `function` on `items` in as many processes as there are `gpus`."""
    called = Workers()
    share = max(1, len(os.sched_getaffinity(0)) // len(gpus))
    environment = {THREADS: str(share), **os.environ}
    for gpu in gpus:
        shown = {} if gpu is None else {VARIABLE: gpu}
        called.idle.put(Worker(Start({**environment, **shown}, interruption.listening())))
    threads = concurrent.futures.ThreadPoolExecutor(len(gpus))
    try:
        futures = [threads.submit(_in_a_process, called, function, item) for item in items]
        return _gather(_result(future) for future in futures)
    except (KeyboardInterrupt, SystemExit):
        called.are_unwanted = True
        _kill_workers()
        raise
    finally:
        threads.shutdown(cancel_futures=True)
        while not called.idle.empty():
            _end(called.idle.get())


def _result(future: concurrent.futures.Future[Outcome]) -> Outcome:
    """Wait for a result, a moment at a time.

    A signal that another thread of this process gets does not end the wait of the main thread,
    which alone runs the handlers.
    """
    while not concurrent.futures.wait([future], interruption.POLL_SECONDS).done:
        pass
    return future.result()


def _attempt(function: Callable[[Any], str], item: Any) -> Outcome:
    try:
        interruption.check()
        return Outcome(function(item))
    except Exception as error:
        # On a full disk nothing is wrong with the item, and the others will tell the same.
        if refusal_in(error) is not None:
            return Outcome(end=error)
        return Outcome(failure=traceback.format_exc())
    except (KeyboardInterrupt, SystemExit):
        raise
    except BaseException as end:
        return Outcome(end=end)


def _in_a_process(workers: Workers, function: Callable[[Any], str], item: Any) -> Outcome:
    worker = workers.idle.get()
    try:
        interruption.check()
        line = _begun(worker)
        interruption.check()  # it may have taken a while
        if workers.are_unwanted:
            _kill_workers()
        outcome = _asked(line, function, item)
    except (EOFError, BrokenPipeError, ConnectionResetError):
        return _of_a_death(worker)
    except interruption.Stopped as end:
        return Outcome(end=end)
    except Exception as error:
        if refusal_in(error) is not None:
            return Outcome(end=error)
        return Outcome(failure=traceback.format_exc())
    finally:
        workers.idle.put(worker)
    if isinstance(outcome.end, KeyboardInterrupt | SystemExit):
        raise outcome.end
    return outcome


def _begun(worker: Worker) -> Connection:
    """Return the line to a worker whose process runs."""
    if worker.line is None:
        worker.process, worker.line = forking.begin(_serve, worker.start)
    return worker.line


def _asked(line: Connection, function: Callable[[Any], str], item: Any) -> Outcome:
    line.send((function, item))
    outcome: Outcome = line.recv()
    return outcome


def _end(worker: Worker) -> int | None:
    """Let a worker's process leave; return its exit status, None if it was not begun."""
    process, line = worker.process, worker.line
    worker.process = worker.line = None
    if process is None or line is None:
        return None
    line.close()
    process.join()
    return process.exitcode


def _of_a_death(worker: Worker) -> Outcome:
    status = _end(worker)
    # What asks this process to end may end a worker at once, and that is not a failure of its item.
    if interruption.asked():
        return Outcome(end=interruption.Stopped(interruption.received()))
    return Outcome(failure=f"the worker process died with exit status {status}")


def _serve(line: Connection, start: Start) -> None:
    """Compute what is asked in a worker's process, until the line ends."""
    forking.make_own(start)  # before anything else is imported, which may read it
    outlive_readers()
    _die_with_parent()
    with contextlib.suppress(EOFError, KeyboardInterrupt, BrokenPipeError, ConnectionResetError):
        while True:
            outcome = _answer(line)
            try:
                line.send(outcome)
            except OSError:  # nobody listens any more
                raise
            except Exception:  # an end that cannot travel
                line.send(Outcome(failure=f"{type(outcome.end).__name__}: {outcome.end}"))
    leave(0)


def _answer(line: Connection) -> Outcome:
    try:
        function, item = line.recv()
    except EOFError:
        raise
    except Exception:  # such as a module that cannot be imported here
        return Outcome(failure=traceback.format_exc())
    try:
        return _attempt(function, item)
    except (KeyboardInterrupt, SystemExit) as end:
        return Outcome(end=end)


def _die_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None

    def watch() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=watch, daemon=True, name="sparsekit-parent").start()


def _kill_workers() -> None:
    for child in multiprocessing.active_children():
        child.kill()  # one that listens would end only where it can stop without a loss


def _gather(outcomes: Iterable[Outcome]) -> list[str]:
    finished = list(outcomes)
    for outcome in finished:
        if outcome.end is not None:
            raise outcome.end
    failures = [outcome.failure for outcome in finished if outcome.failure is not None]
    if failures:
        listing = "\n".join(f"--- failure {i + 1}\n{text}" for i, text in enumerate(failures))
        raise Failures(f"{len(failures)} of {len(finished)} fits failed\n{listing}")
    return [outcome.result for outcome in finished if outcome.result is not None]
