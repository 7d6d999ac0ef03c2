"""The one loop every method runs through."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from sparsekit.execution.executors import Executor
from sparsekit.execution.store import Store
from sparsekit.method.cycle import Cycle, Method
from sparsekit.method.stages import Judge, merge_tickets, start_fits

Fit = Mapping[str, Any]


def run(
    method: Method,
    init: str,
    *,
    fit: Callable[[Fit], str],
    settings: Mapping[str, Any],
    judge: Judge,
    store: Store,
    executor: Executor,
) -> Iterator[tuple[Cycle, str]]:
    """Prune, rewind, train the particles, merge; once per cycle. Yields each cycle's ticket.

    `init` is the key of the initial weights, `settings` what every fit of this run is given, and
    `fit` trains one particle and returns its key. Every line says "ensure that this exists", so a
    run that was killed, or shares stages with another, computes only what is missing.
    """
    anchor = init
    sources: tuple[str, ...] = (init,)
    for cycle in method.plan():
        start = start_fits(cycle, sources, anchor, judge=judge, store=store)
        asked = [{**settings, **cycle.settings(v), "start": start} for v in cycle.variations]
        particles = tuple(executor(fit, asked))
        ticket = merge_tickets(cycle, particles, judge=judge, store=store)
        anchor = ticket if cycle.is_anchor else anchor
        sources = particles if method.sources == "particles" else (ticket,)
        yield cycle, ticket
