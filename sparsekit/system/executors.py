"""Where the fits of a cycle run: here, or in worker processes on this machine."""

from __future__ import annotations

import concurrent.futures
import dataclasses
import multiprocessing
import os
import queue
import threading
import traceback
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Protocol

from sparsekit.system import interruption
from sparsekit.system.gpus import VARIABLE, visible_gpus
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

    A worker that dies fails only its current item; the others continue. Workers end with the
    process that started them, however it ends, and are asked to end when it is. They share the
    processor's cores, unless OMP_NUM_THREADS is set. If there are GPUs, every worker sees one of
    them, and `per_gpu` workers share it.

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


@dataclasses.dataclass(frozen=True)
class Start:
    """What a worker process is told at its start. `listens`: it handles the signals itself."""

    num_threads: int
    gpu: str | None
    listens: bool


Pool = tuple[concurrent.futures.ProcessPoolExecutor, Start]
Pools = queue.SimpleQueue[Pool]


def _in_processes(
    function: Callable[[Any], str], items: Sequence[Any], gpus: Sequence[str | None]
) -> list[str]:
    """Call `function` on `items` in as many processes as there are `gpus`."""
    pools: Pools = queue.SimpleQueue()
    num_threads = max(1, len(os.sched_getaffinity(0)) // len(gpus))
    for gpu in gpus:
        pools.put(_one_process(Start(num_threads, gpu, interruption.listening())))
    threads = concurrent.futures.ThreadPoolExecutor(len(gpus))
    try:
        futures = [threads.submit(_in_a_process, pools, function, item) for item in items]
        return _gather(future.result() for future in futures)
    except (KeyboardInterrupt, SystemExit):
        _kill_workers()
        raise
    finally:
        threads.shutdown(cancel_futures=True)
        while not pools.empty():
            pools.get()[0].shutdown()


def _attempt(function: Callable[[Any], str], item: Any) -> Outcome:
    try:
        interruption.check()
        return Outcome(function(item))
    except Exception:
        return Outcome(failure=traceback.format_exc())
    except (KeyboardInterrupt, SystemExit):
        raise
    except BaseException as end:
        return Outcome(end=end)


def _in_a_process(pools: Pools, function: Callable[[Any], str], item: Any) -> Outcome:
    pool, start = pools.get()
    try:
        interruption.check()
        with interruption.held():
            future = pool.submit(_attempt, function, item)
        return future.result()
    except concurrent.futures.BrokenExecutor as error:
        pool.shutdown()
        pool, _ = _one_process(start)
        return _of_a_death(error)
    except interruption.Stopped as end:
        return Outcome(end=end)
    except Exception:
        return Outcome(failure=traceback.format_exc())
    finally:
        pools.put((pool, start))


def _of_a_death(error: Exception) -> Outcome:
    # What asks this process to end may end a worker at once, and that is not a failure of its item.
    if interruption.asked():
        return Outcome(end=interruption.Stopped(interruption.received()))
    return Outcome(failure=f"the worker process died: {error}")


def _one_process(start: Start) -> Pool:
    context = multiprocessing.get_context("spawn")
    pool = concurrent.futures.ProcessPoolExecutor(
        1, mp_context=context, initializer=_begin, initargs=(start,)
    )
    return pool, start


def _begin(start: Start) -> None:
    # Before anything is imported that reads them.
    os.environ.setdefault("OMP_NUM_THREADS", str(start.num_threads))
    if start.gpu is not None:
        os.environ[VARIABLE] = start.gpu
    if start.listens:
        interruption.listen()
    outlive_readers()
    _die_with_parent()


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
