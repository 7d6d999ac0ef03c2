"""The two stages between fits: start (prune and rewind) and ticket (merge and report)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from sparsekit.core.counts import budget
from sparsekit.core.learning_rates import norm_drop
from sparsekit.core.prune import apply, overlap
from sparsekit.core.types import Masks, Probe, State, Weights
from sparsekit.execution.identity import Stage
from sparsekit.execution.store import Store, write_json
from sparsekit.execution.tensors import load_ticket, save_ticket
from sparsekit.method.cycle import Cycle

START_VERSION = 1
TICKET_VERSION = 1


class Judge(Protocol):
    """What the loop may ask of the task; choices see the validation split, never the test."""

    @property
    def identity(self) -> Mapping[str, Any]:
        """Plain data that says which task is judged."""
        ...

    def parameters(self, state: State) -> Weights:
        """The trained part of `state`: without running statistics and other buffers."""
        ...

    def probe(self, state: State) -> Probe:
        """What a data-driven score may ask about `state`."""
        ...

    def recalibrate(self, state: State) -> State:
        """`state` with the statistics of its normalisation layers estimated anew."""
        ...

    def score(self, state: State) -> float:
        """Validation accuracy, for choices."""
        ...

    def report(self, state: State, masks: Masks) -> dict[str, Any]:
        """Everything a table may show of a finished ticket."""
        ...


def start_fits(
    cycle: Cycle, sources: Sequence[str], anchor: str, *, judge: Judge, store: Store
) -> str:
    """Key of the weights and masks that the fits of a cycle start from.

    Masks: the overlap of every source pruned to the cycle's budget. Weights: the anchor's where
    the cycle rewinds, else the first source's.
    """
    weights = anchor if cycle.rewinds else sources[0]
    config = {"prune": cycle.prune, "sparsity": cycle.sparsity, "task": judge.identity}
    stage = Stage("start", config, inputs=(weights, *sources), version=START_VERSION)

    def compute(folder: Path) -> None:
        pruned = [_prune_source(cycle, key, judge=judge, store=store) for key in sources]
        state, _ = load_ticket(store, weights)
        masks = overlap([masks for masks, _ in pruned])
        cuts = [cut for _, cut in pruned]
        metrics = {"score": judge.score(apply(state, masks)), "cuts": cuts}
        save_ticket(folder, state=weights, masks=masks)
        write_json(folder / "metrics.json", metrics)

    return store.ensure(stage, compute)


def merge_tickets(cycle: Cycle, particles: Sequence[str], *, judge: Judge, store: Store) -> str:
    """Key of the one ticket made of a cycle's particles, with its report."""
    config = {"merge": cycle.merge, "task": judge.identity}
    stage = Stage("ticket", config, inputs=tuple(particles), version=TICKET_VERSION)

    def compute(folder: Path) -> None:
        tickets = [load_ticket(store, key) for key in particles]
        masks = _common_masks(particles, [masks for _, masks in tickets])
        state = cycle.merge([state for state, _ in tickets], _score_of(judge))
        if len(particles) == 1:
            save_ticket(folder, state=particles[0], masks=particles[0])
        else:
            state = judge.recalibrate(state)
            save_ticket(folder, state=state, masks=masks)
        write_json(folder / "metrics.json", judge.report(state, masks))

    return store.ensure(stage, compute)


def _score_of(judge: Judge) -> Callable[[State], float]:
    """Validation accuracy as a merge may ask for it: of weights no optimizer produced, and of
    candidates alike, with the statistics of normalisation layers estimated anew."""
    return lambda state: judge.score(judge.recalibrate(state))


def _prune_source(
    cycle: Cycle, key: str, *, judge: Judge, store: Store
) -> tuple[Masks, dict[str, float]]:
    state, masks = load_ticket(store, key)
    if cycle.prune is None or cycle.sparsity == 0:
        return masks, {"norm_drop": 0.0, "fraction": 0.0}
    weights = {name: state[name] for name in masks}
    num_kept = budget(sum(mask.numel() for mask in masks.values()), cycle.sparsity)
    after = cycle.prune(weights, masks, judge.probe(state), num_kept=num_kept)
    alive = sum(int(mask.sum()) for mask in masks.values())
    kept = sum(int(mask.sum()) for mask in after.values())
    drop = norm_drop(judge.parameters(apply(state, masks)), after)
    return after, {"norm_drop": drop, "fraction": 1 - kept / alive}


def _common_masks(particles: Sequence[str], masks: Sequence[Masks]) -> Masks:
    first = masks[0]
    for key, other in zip(particles, masks, strict=True):
        differing = [name for name in first if not bool((first[name] == other[name]).all())]
        if differing:
            raise ValueError(
                f"{key} and {particles[0]} have different masks in {differing[0]}: "
                "their average would be denser than either"
            )
    return first
