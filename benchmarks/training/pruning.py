"""Iterative magnitude pruning as a whole against the script one would write for it."""

from __future__ import annotations

import dataclasses
import shutil
import tempfile
from functools import partial
from itertools import count
from pathlib import Path

import torch
from torch import Tensor

from benchmarks import timing
from benchmarks.training.fits import (
    BY_MAGNITUDE,
    CPU,
    RUNTIME,
    Clock,
    Sample,
    Setting,
    digest,
    prepare,
    trained,
)
from benchmarks.training.steps import BARE, GREY, agreement
from sparsekit.core.fit_spec import FitSpec
from sparsekit.core.types import Masks, State
from sparsekit.method.cycle import Method
from sparsekit.method.loop import run
from sparsekit.models.lenet import lenet_300_100
from sparsekit.networks.network import stored_network
from sparsekit.store.store import Store
from sparsekit.store.tensors import load_network
from sparsekit.tasks.classification import classification
from sparsekit.training.evaluate import evaluate
from sparsekit.training.fit import fit
from sparsekit.training.history import EVALUATION_BATCH
from sparsekit.training.judge import NetworkJudge
from sparsekit.training.problem import load_data

LOOP = "IMP by method/loop.py"
CYCLES, REMOVE = 4, 0.2
SETTING = Setting("LeNet-300-100, batch 128", lenet_300_100, GREY, 128, 390, 2, 1.1)
QUICK = Setting("LeNet-300-100, batch 8", lenet_300_100, GREY, 8, 5, 1, 1.1)


def sections(options: timing.Options) -> list[str]:
    """Measure both; every round has another seed and a new store."""
    setting = QUICK if options.quick else SETTING
    with tempfile.TemporaryDirectory() as folder:
        spec = prepare(setting, Store(Path(folder)))
        seeds = {BARE: count(), LOOP: count()}

        def take(name: str) -> Sample:
            way = script if name == BARE else whole
            seeded = dataclasses.replace(spec, seed=next(seeds[name]))
            return way(seeded, Path(folder), options.clock)

        ways = {name: partial(take, name) for name in (BARE, LOOP)}
        samples = timing.interleave(ways, rounds=options.rounds)
    times = {name: [sample.whole for sample in taken] for name, taken in samples.items()}
    ratio = timing.paired(times, LOOP, BARE)
    parts = [
        f"### {setting.name}: dense, then {CYCLES} cycles of {100 * REMOVE:g} %, "
        f"{setting.epochs * setting.steps_per_epoch} steps each",
        timing.markdown(timing.HEAD, timing.rows(times, base=BARE)),
        f"{timing.at_most('all of it / all of the script', ratio, setting.target)}\n"
        f"- {agreement(samples[LOOP], samples[BARE])}",
    ]
    return ["\n\n".join(parts)]


def whole(spec: FitSpec, folder: Path, clock: Clock) -> Sample:
    """Run the method in a store of its own, in which the initial weights are."""
    method = Method(prune=BY_MAGNITUDE, remove=REMOVE, cycles=CYCLES, rewind_step=0)
    with tempfile.TemporaryDirectory() as own:
        store = Store(Path(shutil.copytree(folder, Path(own) / "store")))
        started = clock()
        turns = run(
            method,
            lambda number: initial_of(spec, store),
            fit=partial(fit, store=store, runtime=RUNTIME),
            common=spec,
            judge=NetworkJudge(spec.problem, RUNTIME),
            store=store,
            executor=lambda work, asked: [work(one) for one in asked],
        )
        *_, last = turns
        seconds = clock() - started
        return Sample(seconds, 0.0, digest(load_network(store, last.ticket)[0]))


def initial_of(spec: FitSpec, store: Store) -> str:
    """Return the key of the weights that were pruned to none for `spec`."""
    key: str = store.description(spec.pruned)["inputs"][0]
    return key


def script(spec: FitSpec, folder: Path, clock: Clock) -> Sample:
    """Train, prune by magnitude, rewind, train again; validate and test."""
    store = Store(folder)
    started = clock()
    data = load_data(spec.problem, RUNTIME.data_root)
    state, masks = load_network(store, spec.pruned)
    network = stored_network(store, spec.pruned)
    total = sum(mask.numel() for mask in masks.values())
    model = network.loaded(state)
    for cycle in range(CYCLES + 1):
        if cycle:
            budget = round(total * (1 - REMOVE) ** cycle)
            masks = largest(model.state_dict(), masks, budget)
            model = network.loaded(rewound(state, masks))
        for _ in trained(model, masks, dataclasses.replace(spec, cycle=cycle), data):
            pass
        for split in ("val", "test"):
            batches = data.eval_batches(split, batch_size=EVALUATION_BATCH, device=CPU)
            evaluate(classification(), [model], batches)
    return Sample(clock() - started, 0.0, digest(model.state_dict()))


def largest(state: State, masks: Masks, budget: int) -> Masks:
    """Keep the largest magnitudes of the whole network among those that are kept."""
    scores = torch.cat([(state[name].abs() * mask).flatten() for name, mask in masks.items()])
    chosen = torch.zeros_like(scores, dtype=torch.bool)
    chosen[scores.topk(budget).indices] = True
    pieces = chosen.split([mask.numel() for mask in masks.values()])
    return {n: piece.view(masks[n].shape) for n, piece in zip(masks, pieces, strict=True)}


def rewound(state: State, masks: Masks) -> dict[str, Tensor]:
    """Return the initial weights under the masks."""
    return {n: tensor * masks[n] if n in masks else tensor for n, tensor in state.items()}
