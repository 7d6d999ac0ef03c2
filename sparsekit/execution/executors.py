"""Where the fits of a cycle run: here, or in worker processes on this machine."""

from __future__ import annotations

import concurrent.futures
import multiprocessing
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
    """Results of `function` over `items`, `num_workers` processes at a time, in item order."""
    if num_workers < 1:
        raise ValueError(f"num_workers={num_workers} is not positive")
    if len(items) == 1:
        return inline(function, items)
    context = multiprocessing.get_context("spawn")
    size = min(num_workers, len(items))
    with concurrent.futures.ProcessPoolExecutor(size, mp_context=context) as pool:
        futures = [pool.submit(_attempt, function, item) for item in items]
        return _gather(_outcome(future) for future in futures)


Outcome = tuple[str | None, str | None]


def _attempt(function: Callable[[Any], str], item: Any) -> Outcome:
    try:
        return function(item), None
    except Exception:
        return None, traceback.format_exc()


def _outcome(future: concurrent.futures.Future[Outcome]) -> Outcome:
    try:
        return future.result()
    except concurrent.futures.BrokenExecutor as error:
        return None, f"the worker process died: {error}"


def _gather(outcomes: Iterator[Outcome]) -> list[str]:
    finished = list(outcomes)
    failures = [error for _, error in finished if error is not None]
    if failures:
        listing = "\n".join(f"--- failure {i + 1}\n{text}" for i, text in enumerate(failures))
        raise Failures(f"{len(failures)} of {len(finished)} fits failed\n{listing}")
    return [result for result, _ in finished if result is not None]
