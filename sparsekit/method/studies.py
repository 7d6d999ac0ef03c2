"""What is measured of particles and tickets beyond a report: each a stage of its own.

A study takes a `Subject` and gives plain data; it is stored apart from the ticket it is about, so
that to study a result never changes it.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from sparsekit.core import geometry
from sparsekit.core.averaging import interpolate
from sparsekit.core.prune import apply
from sparsekit.core.types import State
from sparsekit.method.cycle import Cycle
from sparsekit.method.judge import Judge
from sparsekit.store.identity import Stage, describe
from sparsekit.store.store import Store, write_json
from sparsekit.store.tensors import load_network

STUDY_VERSION = 1
STUDY = "study.json"
SPLITS = ("val", "test")


@dataclasses.dataclass(frozen=True)
class Subject:
    """What a study may look at: the particles of a cycle, their ticket, the cycle before's."""

    particles: Sequence[str]
    ticket: str
    previous: str | None
    judge: Judge
    store: Store

    def state(self, key: str) -> State:
        """The weights of a stage, pruned ones at zero."""
        return apply(*load_network(self.store, key))


def study(
    cycle: Cycle,
    particles: Sequence[str],
    ticket: str,
    previous: str | None,
    *,
    judge: Judge,
    store: Store,
) -> dict[str, str]:
    """Keys of the studies of a cycle, by the names of their functions.

    None where there is one particle and no cycle before, and so nothing to compare.
    """
    if len(particles) == 1 and previous is None:
        return {}
    subject = Subject(particles, ticket, previous, judge, store)
    names = [describe(one)["_target_"].rpartition(".")[2] for one in cycle.studies]
    return {name: _ensure(one, subject) for name, one in zip(names, cycle.studies, strict=True)}


def _ensure(function: Any, subject: Subject) -> str:
    others = () if subject.previous is None else (subject.previous,)
    config = {"study": function, "task": subject.judge.identity}
    inputs = (subject.ticket, *subject.particles, *others)
    stage = Stage("study", config, inputs=inputs, version=STUDY_VERSION)
    return subject.store.ensure(stage, lambda folder: _write(folder, function(subject)))


def _write(folder: Path, content: Mapping[str, Any]) -> None:
    write_json(folder / STUDY, content)


def particles(subject: Subject) -> dict[str, Any]:
    """Every particle, their mean, the best by validation, the merged one, the ensemble, geometry.

    The prediction ensemble averages probabilities (Zimmer et al. 2024 compare soups with it).
    Distances (L2) and angles (degrees) are of the trained parameters, without running statistics.
    """
    states = [subject.state(key) for key in subject.particles]
    measured = [subject.judge.measure([state]) for state in states]
    candidates = [{"key": key, **one} for key, one in zip(subject.particles, measured, strict=True)]
    mean = {name: sum(one[name] for one in measured) / len(measured) for name in measured[0]}
    best = max(range(len(measured)), key=lambda index: measured[index]["val_accuracy"])
    merged = subject.judge.measure([subject.state(subject.ticket)])
    names = list(subject.judge.parameters(states[0]))
    return {
        "candidates": candidates,
        "mean": mean,
        "best": best,
        "merged": merged,
        "gap_to_mean": _gap(merged, mean),
        "gap_to_best": _gap(merged, measured[best]),
        "ensemble": subject.judge.measure(states),
        "geometry": {
            "distances": geometry.distances(states, names),
            "angles": geometry.angles(states, names),
            "to_barycentre": geometry.to_barycentre(states, names),
        },
    }


def barriers(subject: Subject, *, num_points: int = 11, cycles: bool = True) -> dict[str, Any]:
    """Error and loss on the lines between particles, and from the last ticket to this one.

    Linear mode connectivity (Frankle et al. 2020): `num_points` equally spaced points, the
    statistics of normalisation layers estimated anew at each. `instability` is the highest error
    less the mean of the ends; a barrier is the most that error or loss rises above the chord
    between them. `cycles`: whether to walk from ticket to ticket. ValueError unless
    num_points >= 3.
    """
    if num_points < 3:
        raise ValueError(f"num_points={num_points} leaves no point between the ends")
    alphas = [point / (num_points - 1) for point in range(num_points)]
    ends = [("particles", pair) for pair in itertools.combinations(subject.particles, 2)]
    if cycles and subject.previous is not None:
        ends.append(("cycles", (subject.previous, subject.ticket)))
    return {"alphas": alphas, "pairs": [_pair(subject, kind, two, alphas) for kind, two in ends]}


def _pair(
    subject: Subject, kind: str, between: tuple[str, str], alphas: Sequence[float]
) -> dict[str, Any]:
    first, second = (subject.state(key) for key in between)
    judge = subject.judge
    measured = [
        judge.measure([judge.recalibrate(interpolate(first, second, alpha))]) for alpha in alphas
    ]
    found: dict[str, Any] = {"kind": kind, "between": list(between)}
    for split in SPLITS:
        errors = [1 - one[f"{split}_accuracy"] for one in measured]
        losses = [one[f"{split}_loss"] for one in measured]
        found |= {
            f"{split}_error": errors,
            f"{split}_loss": losses,
            f"{split}_instability": geometry.instability(errors),
            f"{split}_barrier": geometry.barrier(alphas, errors),
            f"{split}_loss_barrier": geometry.barrier(alphas, losses),
        }
    return found


def _gap(merged: Mapping[str, float], other: Mapping[str, float]) -> dict[str, float]:
    return {f"{s}_accuracy": merged[f"{s}_accuracy"] - other[f"{s}_accuracy"] for s in SPLITS}
