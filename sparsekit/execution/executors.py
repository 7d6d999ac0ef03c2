"""Where the fits of a cycle run: here, or in worker processes on this machine."""

from __future__ import annotations

import concurrent.futures
import multiprocessing
import os
import queue
import threading
import traceback
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Protocol


class Executor(Protocol):
    """Results in order; runs all items to their end, then raises one error with every failure."""

    def __call__(self, function: Callable[[Any], str], items: Sequence[Any]) -> list[str]: ...


class Failures(RuntimeError):
    """Some items failed; every one of them is listed with its traceback."""


def inline(function: Callable[[Any], str], items: Sequence[Any]) -> list[str]:
    """Results of `function` over `items`, one after the other, in this process.

    >>> inline(str.upper, ["a", "b"])
    ['A', 'B']
    """
    return _gather(_attempt(function, item) for item in items)


def workers(function: Callable[[Any], str], items: Sequence[Any], *, num_workers: int) -> list[str]:
    """Results of `function` over `items`, `num_workers` processes at a time, in item order.

    A worker that dies fails only the item it was at; the others go on. Workers end with the
    process that started them, however that ends. The processor's cores are shared out among them,
    unless OMP_NUM_THREADS says otherwise.
    """
    if num_workers < 1:
        raise ValueError(f"num_workers={num_workers} is not positive")
    if len(items) <= 1:
        return inline(function, items)
    size = min(num_workers, len(items))
    pools: Pools = queue.SimpleQueue()
    num_threads = max(1, len(os.sched_getaffinity(0)) // size)
    for _ in range(size):
        pools.put(_one_process(num_threads))
    threads = concurrent.futures.ThreadPoolExecutor(size)
    try:
        futures = [
            threads.submit(_in_a_process, pools, function, item, num_threads) for item in items
        ]
        return _gather(future.result() for future in futures)
    except (KeyboardInterrupt, SystemExit):
        _terminate_workers()
        raise
    finally:
        threads.shutdown(cancel_futures=True)
        while not pools.empty():
            pools.get().shutdown()


Outcome = tuple[str | None, str | None]
Pools = queue.SimpleQueue[concurrent.futures.ProcessPoolExecutor]


def _attempt(function: Callable[[Any], str], item: Any) -> Outcome:
    try:
        return function(item), None
    except Exception:
        return None, traceback.format_exc()


def _in_a_process(
    pools: Pools, function: Callable[[Any], str], item: Any, num_threads: int
) -> Outcome:
    pool = pools.get()
    try:
        return pool.submit(_attempt, function, item).result()
    except concurrent.futures.BrokenExecutor as error:
        pool.shutdown()
        pool = _one_process(num_threads)
        return None, f"the worker process died: {error}"
    except Exception:
        return None, traceback.format_exc()
    finally:
        pools.put(pool)


def _one_process(num_threads: int) -> concurrent.futures.ProcessPoolExecutor:
    context = multiprocessing.get_context("spawn")
    return concurrent.futures.ProcessPoolExecutor(
        1, mp_context=context, initializer=_begin, initargs=(num_threads,)
    )


def _begin(num_threads: int) -> None:
    # Before anything is imported that reads it.
    os.environ.setdefault("OMP_NUM_THREADS", str(num_threads))
    _die_with_parent()


def _die_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None

    def watch() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=watch, daemon=True, name="sparsekit-parent").start()


def _terminate_workers() -> None:
    for child in multiprocessing.active_children():
        child.terminate()


def _gather(outcomes: Iterator[Outcome]) -> list[str]:
    finished = list(outcomes)
    failures = [error for _, error in finished if error is not None]
    if failures:
        listing = "\n".join(f"--- failure {i + 1}\n{text}" for i, text in enumerate(failures))
        raise Failures(f"{len(failures)} of {len(finished)} fits failed\n{listing}")
    return [result for result, _ in finished if result is not None]
