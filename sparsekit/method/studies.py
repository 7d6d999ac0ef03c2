"""What is measured of particles and tickets beyond a report: each a stage of its own.

A study takes a `StudyInput` and returns plain data, or raises `CannotStudy` with the reason; either
is stored apart from the ticket it is about, so that a study never changes a result.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from sparsekit.core import geometry
from sparsekit.core.geometry import interpolate
from sparsekit.core.prune import apply
from sparsekit.core.types import State
from sparsekit.method.judge import Judge, SplitName
from sparsekit.networks.network import stored_network
from sparsekit.store.identity import Stage, describe
from sparsekit.store.store import Store
from sparsekit.store.tensors import load_network
from sparsekit.system.files import write_measured

STUDY_VERSION = 3
STUDY = "study.json"
SKIPPED = "skipped"
SPLITS: tuple[SplitName, ...] = ("val", "test")


class CannotStudy(Exception):
    """What a study needs is not there; says what. Not an error: the run goes on."""


@dataclasses.dataclass(frozen=True)
class StudyInput:
    """What a study may look at: the particles of a cycle, their ticket, the cycle before's.

    `judge` judges states of the ticket's network; it also lends the loaded network and its data.
    """

    particles: Sequence[str]
    ticket: str
    previous: str | None
    judge: Judge
    store: Store

    def state(self, key: str) -> State:
        """Return the weights of a stage, pruned ones at zero."""
        return apply(*load_network(self.store, key))

    def previous_state(self) -> State | None:
        """Return the last cycle's ticket; None if there is none or it is of another network."""
        if self.previous is None:
            return None
        networks = [stored_network(self.store, key) for key in (self.previous, self.ticket)]
        return self.state(self.previous) if networks[0] == networks[1] else None


Study = Callable[[StudyInput], Mapping[str, Any]]
"""Measures what it is given, and returns plain data; raises CannotStudy where it cannot."""


def study(
    studies: Sequence[Study],
    particles: Sequence[str],
    ticket: str,
    previous: str | None,
    *,
    judge: Judge,
    store: Store,
) -> dict[str, str]:
    """Return the keys of studies of one ticket, by the names of their functions."""
    names = [describe(one)["_target_"].rpartition(".")[2] for one in studies]
    asked = StudyInput(particles, ticket, previous, judge, store)
    return {name: _ensure(one, asked) for name, one in zip(names, studies, strict=True)}


def skipped(keys: Mapping[str, str], store: Store) -> dict[str, str]:
    """Return, of studies by name, those that could not be made, each with the reason."""
    found = {name: store.read(key, STUDY) for name, key in keys.items()}
    return {name: content[SKIPPED] for name, content in found.items() if SKIPPED in content}


def _ensure(function: Any, asked: StudyInput) -> str:
    others = () if asked.previous is None else (asked.previous,)
    config = {"study": function, "problem": asked.judge.identity}
    inputs = (asked.ticket, *asked.particles, *others)
    stage = Stage("study", config, inputs=inputs, version=STUDY_VERSION)

    def compute(folder: Path) -> None:
        judge = asked.judge.on(stored_network(asked.store, asked.ticket))
        try:
            content = function(dataclasses.replace(asked, judge=judge))
        except CannotStudy as reason:
            content = {SKIPPED: str(reason)}
        write_measured(folder / STUDY, content)

    return asked.store.ensure(stage, compute)


def particles(asked: StudyInput) -> dict[str, Any]:
    """Measure every particle, their mean, the best by validation, the merged one, the ensemble.

    Also their geometry. The prediction ensemble averages probabilities (Zimmer et al. 2024 compare
    soups with it). Distances (L2) and angles (degrees) are of the trained parameters, without
    running statistics.
    """
    states = [asked.state(key) for key in asked.particles]
    measured = [asked.judge.measure([state]) for state in states]
    listed = [{"key": key, **one} for key, one in zip(asked.particles, measured, strict=True)]
    mean = {name: sum(one[name] for one in measured) / len(measured) for name in measured[0]}
    primary = asked.judge.primary
    name = f"val_{primary.name}"
    best = max(range(len(measured)), key=lambda index: primary.quality(measured[index][name]))
    merged = asked.judge.measure([asked.state(asked.ticket)])
    names = list(asked.judge.parameters(states[0]))
    return {
        "particles": listed,
        "mean": mean,
        "best": best,
        "merged": merged,
        "gap_to_mean": _gap(merged, mean, primary.name),
        "gap_to_best": _gap(merged, measured[best], primary.name),
        "ensemble": asked.judge.measure(states) if asked.judge.has_ensemble else None,
        "geometry": {
            "distances": geometry.distances(states, names),
            "angles": geometry.angles(states, names),
            "to_barycentre": geometry.to_barycentre(states, names),
        },
    }


def barriers(asked: StudyInput, *, num_points: int = 11, cycles: bool = True) -> dict[str, Any]:
    """Measure error and loss on lines between particles, and from the last ticket to this one.

    Linear mode connectivity (Frankle et al. 2020): `num_points` equally spaced points, the
    statistics of normalisation layers estimated anew at each. `instability` is the highest error
    less the mean of the ends; a barrier is the most that error or loss rises above the chord
    between them. `cycles`: whether to walk from ticket to ticket. ValueError unless
    num_points >= 3.
    """
    alphas = require_points(num_points, least=3)
    ends = [("particles", pair) for pair in itertools.combinations(asked.particles, 2)]
    if cycles and asked.previous is not None and asked.previous_state() is not None:
        ends.append(("cycles", (asked.previous, asked.ticket)))
    if not ends:
        raise CannotStudy("needs two particles, or a cycle before this one, to walk between")
    return {"alphas": alphas, "pairs": [_pair(asked, kind, two, alphas) for kind, two in ends]}


def require_points(num_points: int, *, least: int) -> list[float]:
    """Return equally spaced points from 0 to 1; ValueError for too few of them."""
    if num_points < least:
        raise ValueError(f"num_points={num_points}: at least {least} are needed")
    return [point / (num_points - 1) for point in range(num_points)]


def line(
    judge: Judge, first: State, second: State, alphas: Sequence[float], splits: Sequence[SplitName]
) -> dict[str, Any]:
    """Return error and loss along the line between two states, and what rises above its ends."""
    measured = [
        judge.measure([judge.recalibrate(interpolate(first, second, alpha))], splits)
        for alpha in alphas
    ]
    found: dict[str, Any] = {}
    for split in splits:
        errors = [judge.primary.as_error(one[f"{split}_{judge.primary.name}"]) for one in measured]
        losses = [one[f"{split}_loss"] for one in measured]
        found |= {
            f"{split}_error": errors,
            f"{split}_loss": losses,
            f"{split}_instability": geometry.instability(errors),
            f"{split}_barrier": geometry.barrier(alphas, errors),
            f"{split}_loss_barrier": geometry.barrier(alphas, losses),
        }
    return found


def _pair(
    asked: StudyInput, kind: str, between: tuple[str, str], alphas: Sequence[float]
) -> dict[str, Any]:
    first, second = (asked.state(key) for key in between)
    found = line(asked.judge, first, second, alphas, SPLITS)
    return {"kind": kind, "between": list(between), **found}


def _gap(merged: Mapping[str, float], other: Mapping[str, float], name: str) -> dict[str, float]:
    return {
        f"{split}_{name}": merged[f"{split}_{name}"] - other[f"{split}_{name}"] for split in SPLITS
    }
