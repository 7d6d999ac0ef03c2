"""The one loop every method runs through."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping

from sparsekit.core.fit_spec import FitSpec
from sparsekit.method.cycle import Cycle, Method
from sparsekit.method.judge import Judge
from sparsekit.method.stages import merge_tickets, prune_for_fits
from sparsekit.method.studies import study
from sparsekit.method.transforms import transform_for_fits
from sparsekit.store.store import Store
from sparsekit.system.executors import Executor


@dataclasses.dataclass(frozen=True)
class Turn:
    """One cycle that is done: the key of its ticket, and those of what was studied, by name."""

    cycle: Cycle
    ticket: str
    studies: Mapping[str, str]


def run(
    method: Method,
    draw: Callable[[int], str],
    *,
    fit: Callable[[FitSpec], str],
    common: FitSpec,
    judge: Judge,
    store: Store,
    executor: Executor,
) -> Iterator[Turn]:
    """Prune, rewind, transform, train the particles, merge; once per cycle. Yields each turn.

    `draw(0)` is the key of the initial weights, `draw(1)` of others; `common` what all fits of
    this run are asked, and `fit` trains one particle and returns its key. Every line says "ensure
    that this exists", so a run that was killed, or shares stages with another, computes only what
    is missing.
    """
    anchor = ticket = draw(0)
    particles: tuple[str, ...] = (anchor,)
    previous: str | None = None
    dense: str | None = None
    for cycle in method.plan():
        sources = (ticket,) if cycle.sources == "ticket" else particles
        drawn = draw(1) if cycle.reinitialises else anchor if cycle.rewinds else None
        pruned = prune_for_fits(cycle, sources, drawn, seed=common.seed, judge=judge, store=store)
        ready = transform_for_fits(cycle, pruned, judge=judge, store=store)
        fits = [cycle.fit(variation, common).taught_by(dense) for variation in cycle.variations]
        asked = [dataclasses.replace(f, pruned=key) for f, key in zip(fits, ready, strict=False)]
        particles = tuple(executor(fit, asked)) or ready
        ticket = merge_tickets(cycle, particles, judge=judge, store=store)
        studies = study(cycle.studies, particles, ticket, previous, judge=judge, store=store)
        yield Turn(cycle, ticket, studies)
        if cycle.transform is not None and (drawn or sources[0]) == anchor:
            anchor = ready[0]  # the same weights, in the network they are now trained in
        anchor = ticket if cycle.is_anchor else anchor
        dense = ticket if cycle.index == 0 else dense
        previous = previous if cycle.is_anchor else ticket
