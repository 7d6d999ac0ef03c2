"""What a seed decides: which faults come in which order, and which sweeps are there to suffer.

The moments and the victims depend on the machine as well: a fault waits until it is possible.
"""

from __future__ import annotations

import dataclasses
import random
from collections.abc import Iterator, Sequence
from typing import TypeVar

from tests.conformance.test_methods import METHODS, TEXT
from tests.conformance.test_tasks import REFUSED
from tests.conftest import short

# Beside the overrides: the primary metric, by which the test of tasks names what is refused.
PROBLEMS = {
    "digits": ("accuracy", ("data=digits", "model=mlp", "train.epochs=1.5")),
    "diabetes": ("r2", ("data=diabetes", "train=diabetes", "model=mlp", "train.epochs=4")),
    "text": ("bits_per_byte", (*TEXT, "train.epochs=1")),
}
PARTITIONS = ("preempt", "preempt0", "scavenge")
FILES = {file.stem: file for file in METHODS}
SEEDS = range(3)
Item = TypeVar("Item")


@dataclasses.dataclass(frozen=True)
class Draw:
    """A fault to come: its kind and the seconds of rest before it.

    Whoever injects it has two fractions: `victim`, which of those at hand, and `moment`, how far
    into whatever the fault takes.
    """

    kind: str
    pause: float
    victim: float
    moment: float


@dataclasses.dataclass(frozen=True)
class Command:
    """A sweep to be typed: `overrides` make its results, the rest says where they are computed."""

    method: str
    problem: str
    overrides: tuple[str, ...]
    partition: str
    executor: str


def draws(seed: int, kinds: Sequence[str], *, mean_pause: float) -> Iterator[Draw]:
    """Draw faults without end: every kind once in random order, then all of them again."""
    generator = random.Random(f"faults {seed}")
    for kind in _decks(generator, kinds):
        pause = generator.expovariate(1 / mean_pause)
        yield Draw(kind, pause, generator.random(), generator.random())


def commands(seed: int, methods: Sequence[str]) -> Iterator[Command]:
    """Draw sweeps without end, of two runs each: every method on every problem it takes."""
    if unknown := sorted(set(methods) - set(FILES)):
        raise ValueError(f"no methods: {', '.join(unknown)}; there are {', '.join(FILES)}")
    generator = random.Random(f"sweeps {seed}")
    pairs = [
        (method, problem)
        for method in methods
        for problem, (metric, _) in PROBLEMS.items()
        if (method, metric) not in REFUSED
    ]
    partitions = _decks(generator, PARTITIONS)
    for method, problem in _decks(generator, pairs):
        seeds = sorted(generator.sample(SEEDS, 2))
        overrides = _overrides(method, problem, seeds)
        as_jobs = "method.num_particles=2" in overrides and generator.random() < 0.5
        executor = "jobs" if as_jobs else "inline"
        yield Command(method, problem, overrides, next(partitions), executor)


def _overrides(method: str, problem: str, seeds: Sequence[int]) -> tuple[str, ...]:
    shortened = short(FILES[method])
    given = {text.partition("=")[0] for text in shortened}
    _, of_problem = PROBLEMS[problem]
    rest = [text for text in of_problem if text.partition("=")[0] not in given]
    return (*rest, *shortened, f"seed={','.join(map(str, seeds))}")


def _decks(generator: random.Random, items: Sequence[Item]) -> Iterator[Item]:
    while True:
        yield from generator.sample(list(items), len(items))
