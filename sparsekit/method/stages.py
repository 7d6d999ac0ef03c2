"""The two stages between fits: pruned (prune and rewind) and ticket (merge and report)."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

import torch

from sparsekit.core.counts import budget
from sparsekit.core.layout import as_stored, outputs_first, prune_rows
from sparsekit.core.learning_rates import norm_drop
from sparsekit.core.prune import apply, collapsed, intersection, total_kept
from sparsekit.core.seeds import derive
from sparsekit.core.types import Masks, MergeContext, State
from sparsekit.method.cycle import Cycle
from sparsekit.method.judge import Judge
from sparsekit.method.transforms import in_network_of
from sparsekit.networks.network import Network, stored_network
from sparsekit.store.identity import Stage, describe, keys_in
from sparsekit.store.store import Store
from sparsekit.store.tensors import MASK_HISTORY, Part, load_network, save_network
from sparsekit.system.files import write_json, write_measured

PRUNED_VERSION = 4
TICKET_VERSION = 3
MERGED_VERSION = 4


def prune_for_fits(
    cycle: Cycle,
    sources: Sequence[str],
    drawn: str | None,
    *,
    seed: int,
    judge: Judge,
    store: Store,
) -> tuple[str, ...]:
    """Prune for the fits of a cycle; return a key of weights and masks for each fit to start from.

    Masks: each source is pruned to the cycle's budget; then all are intersected, unless the cycle
    keeps its fits apart. An intersection keeps less than the budget if the sources disagree. A
    source already within the budget of the next cycle is left as it is: weights that were given up
    are not chosen again to fill a budget. `budget` and `num_kept` in the metrics say what was asked
    for and what was kept.

    Weights: those of `drawn`, the anchor or a new initialisation, if given, else of the first
    source. A cycle without fits has one result. ValueError if the sources have no weight in common.
    """
    num_fits = max(1, len(cycle.variations))
    if cycle.sources != "apart":
        pruned = _pruned(cycle, sources, drawn, seed=seed, judge=judge, store=store)
        return (pruned,) * num_fits
    own = tuple(sources) * num_fits if len(sources) == 1 else tuple(sources)
    return tuple(
        _pruned(cycle, [source], drawn, seed=seed, judge=judge, store=store) for source in own
    )


def _pruned(
    cycle: Cycle,
    sources: Sequence[str],
    drawn: str | None,
    *,
    seed: int,
    judge: Judge,
    store: Store,
) -> str:
    weights = drawn or sources[0]
    config = {"prune": cycle.prune, "sparsity": cycle.sparsity, "problem": judge.identity}
    if cycle.control is not None:
        config |= {"control": cycle.control, "seed": seed}
    inputs = dict.fromkeys((*sources, *keys_in(describe(cycle.prune))))
    stage = Stage("pruned", config, inputs=(weights, *inputs), version=PRUNED_VERSION)

    def compute(folder: Path) -> None:
        begun = time.time(), judge.flops_spent()
        network, part = in_network_of(weights, sources[0], store)
        judging = judge.on(network)
        pruned = [_prune_source(cycle, key, judge=judge, store=store) for key in sources]
        state = load_network(store, part)[0] if isinstance(part, str) else dict(part)
        masks = intersection([masks for masks, _ in pruned])
        if total_kept(masks) == 0:
            raise ValueError(f"the masks of {', '.join(sources)} have no weight in common")
        if cycle.control is not None:
            transposed = judging.transposed()
            shuffled = cycle.control(outputs_first(masks, transposed), derive(seed, "control"))
            masks = as_stored(shuffled, transposed)
        metrics = {
            "validation": judging.validate(apply(state, masks)),
            "cuts": [cut for _, cut in pruned],
            "collapsed": collapsed(masks),
            "budget": _budget(network, masks, cycle),
            "num_kept": total_kept(masks),
        }
        save_network(folder, state=part, masks=masks, network=network.record())
        write_measured(folder / "metrics.json", metrics)
        _write_cost(folder, judge, *begun)

    return store.ensure(stage, compute)


def merge_tickets(cycle: Cycle, particles: Sequence[str], *, judge: Judge, store: Store) -> str:
    """Merge a cycle's particles into its one ticket, with its report; return the key.

    Particles that share a mask keep it. Those of fits that were kept apart are merged under the
    union of their masks, so the ticket is denser than they are, and says so. A single fit is its
    own ticket. Weights that no optimizer produced get new estimates of their normalisation
    statistics.
    """
    config = {"merge": cycle.merge, "problem": judge.identity}
    single = len(particles) == 1 and _is_fit(particles[0])
    version = TICKET_VERSION if single else MERGED_VERSION
    stage = Stage("ticket", config, inputs=tuple(particles), version=version)

    def compute(folder: Path) -> None:
        begun = time.time(), judge.flops_spent()
        network = _common_network(particles, store)
        judging = judge.on(network)
        tickets = [load_network(store, key) for key in particles]
        join = _union if cycle.sources == "apart" else _common_masks
        masks = join(particles, [masks for _, masks in tickets])
        states = [apply(state, masks) for state, masks in tickets]
        state = cycle.merge(states, _quality_of(judging), _merge_context(particles, store))
        if single:
            weights: Part = particles[0]
            save_network(folder, state=weights, masks=weights, network=network.record())
        else:
            state = judging.recalibrate(apply(state, masks))
            save_network(folder, state=state, masks=masks, network=network.record())
        report = judging.report(state, masks)
        write_measured(folder / "metrics.json", {**report, **_along_fits(particles, report, store)})
        _write_cost(folder, judge, *begun)

    return store.ensure(stage, compute)


def _write_cost(folder: Path, judge: Judge, started: float, before: float) -> None:
    """Write what a stage that trains nothing adds to the operations of a procedure, if anything."""
    if flops := judge.flops_spent() - before:
        cost = {"seconds": time.time() - started, "training_flops": flops}
        write_json(folder / "cost.json", cost)


def _merge_context(particles: Sequence[str], store: Store) -> MergeContext:
    """Return what all particles started from, if it is the same, and their numbers of snapshots."""
    if not all(_is_fit(key) for key in particles):
        return MergeContext(None, (1,) * len(particles))
    starts = {store.description(key)["inputs"][0] for key in particles}
    counts = tuple(store.read(key, MASK_HISTORY)["num_snapshots"] for key in particles)
    base = apply(*load_network(store, starts.pop())) if len(starts) == 1 else None
    return MergeContext(base, counts)


def _along_fits(particles: Sequence[str], report: dict[str, Any], store: Store) -> dict[str, Any]:
    """Return means over the particles of what happened to their masks during training."""
    fixed = report["num_parameters_kept"] - report["num_kept"]
    if not all(_is_fit(key) for key in particles):
        kept, rates = float(report["num_kept"]), dict.fromkeys(("itop", "itop_sparse"))
    else:
        histories = [store.read(key, MASK_HISTORY) for key in particles]
        kept = fmean(history["average_num_kept"] for history in histories)
        rates = {name: _mean([c[name] for c in histories]) for name in ("itop", "itop_sparse")}
    return {"average_num_kept": kept, "average_num_parameters": kept + fixed, **rates}


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return fmean(known) if known else None


def _is_fit(key: str) -> bool:
    return key.startswith("fit-")


def _common_network(particles: Sequence[str], store: Store) -> Network:
    """Return the network that all particles are of; ValueError if they are of different ones."""
    networks = [stored_network(store, key) for key in particles]
    for key, other in zip(particles, networks, strict=True):
        if other != networks[0]:
            raise ValueError(f"{key} and {particles[0]} are different networks: they cannot merge")
    return networks[0]


def _quality_of(judge: Judge) -> Callable[[State], float]:
    """Return what a merge may ask of a state: its primary metric on validation, higher = better.

    Of weights no optimizer produced, and of particles alike, the statistics of normalisation layers
    are estimated anew first.
    """
    return lambda state: judge.primary.quality(judge.validate(judge.recalibrate(state)))


def _prune_source(
    cycle: Cycle, key: str, *, judge: Judge, store: Store
) -> tuple[Masks, dict[str, float]]:
    state, masks = load_network(store, key)
    if cycle.prune is None or cycle.sparsity == 0:
        return masks, {"norm_drop": 0.0, "fraction": 0.0}
    network = stored_network(store, key)
    judge = judge.on(network)
    num_kept = _budget(network, masks, cycle)
    if num_kept >= total_kept(masks):
        return masks, {"norm_drop": 0.0, "fraction": 0.0}
    weights = {name: state[name] for name in masks}
    probe, transposed = judge.probe(state), judge.transposed()
    after = prune_rows(cycle.prune, weights, masks, probe, num_kept, transposed=transposed)
    removed = 1 - total_kept(after) / total_kept(masks)
    drop = norm_drop(judge.parameters(apply(state, masks)), after)
    return after, {"norm_drop": drop, "fraction": removed}


def _budget(network: Network, masks: Masks, cycle: Cycle) -> int:
    """Return how many weights remain at the sparsity of a cycle, which counts from the original."""
    return budget(network.num_prunable(masks), cycle.sparsity)


def _union(particles: Sequence[str], masks: Sequence[Masks]) -> Masks:
    return {name: torch.stack([other[name] for other in masks]).any(dim=0) for name in masks[0]}


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
