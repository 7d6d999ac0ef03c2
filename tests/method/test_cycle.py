"""Plans as literal tables, and the mistakes a method refuses."""

from __future__ import annotations

import dataclasses
from functools import partial
from typing import Any

import pytest

from sparsekit.core.learning_rates import fine_tune
from sparsekit.core.movers import fixed
from sparsekit.core.prune import prune
from sparsekit.method.cycle import Cycle, Method

CUT: dict[str, Any] = {"prune": partial(prune)}
LATE: dict[str, Any] = {"dense_first": False, "rewind_step": 5}


def row(cycle: Cycle) -> tuple[Any, ...]:
    return (
        cycle.index,
        round(cycle.sparsity, 4),
        cycle.rewinds,
        cycle.is_anchor,
        cycle.first_step,
        cycle.last_step,
    )


@pytest.mark.parametrize(
    ("method", "plan"),
    [
        (Method(), [(0, 0.0, False, False, 0, None)]),
        (
            Method(**CUT, sparsity=0.9, cycles=1),
            [(0, 0.0, False, False, 0, None), (1, 0.9, False, False, 0, None)],
        ),
        (
            Method(**CUT, sparsity=0.9, cycles=1, dense_first=False),
            [(1, 0.9, False, False, 0, None)],
        ),
        (
            Method(**CUT, remove=0.2, cycles=3, rewind_step=0),
            [
                (0, 0.0, False, False, 0, None),
                (1, 0.2, True, False, 0, None),
                (2, 0.36, True, False, 0, None),
                (3, 0.488, True, False, 0, None),
            ],
        ),
        (
            Method(**CUT, sparsity=0.9, cycles=2, rewind_step=7),
            [
                (0, 0.0, False, True, 0, 7),
                (0, 0.0, True, False, 7, None),
                (1, 0.6838, True, False, 7, None),
                (2, 0.9, True, False, 7, None),
            ],
        ),
    ],
    ids=["dense", "one-shot", "at initialisation", "IMP", "IMP, rewind 7"],
)
def test_plan(method: Method, plan: list[tuple[Any, ...]]) -> None:
    assert [row(cycle) for cycle in method.plan()] == plan


def test_the_last_sparsity_is_exactly_the_one_asked_for() -> None:
    assert list(Method(**CUT, sparsity=0.98, cycles=3).plan())[-1].sparsity == 0.98


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({**CUT, "sparsity": 1.0, "cycles": 1}, "sparsity=1.0 is outside 0 <= sparsity < 1"),
        ({**CUT, "remove": -0.1, "cycles": 1}, "remove=-0.1 is outside"),
        ({**CUT, "cycles": 1}, "either `sparsity` .* or `remove`"),
        ({**CUT, "cycles": 1, "sparsity": 0.5, "remove": 0.2}, "either `sparsity` .* or `remove`"),
        ({"cycles": 1, "sparsity": 0.5}, "nothing is pruned"),
        ({"dense_first": False}, "trains nothing"),
        ({"cycles": -1}, "cycles=-1"),
        ({"rewind_step": -1}, "rewind_step=-1 is negative"),
        (
            {**CUT, "remove": 0.2, "cycles": 1, "dense_first": False, "rewind_step": 5},
            "needs dense",
        ),
        ({"rewind_step": 0, "retrain": fine_tune}, "`retrain` has its own learning rates"),
        ({"sources": "all"}, "'all' is none of 'ticket', 'particles'"),
        ({"variations": ()}, "variations is empty"),
        ({"average_from": 1.0}, "average_from=1.0 is outside"),
        ({"average_from": 0.5, "mover": fixed}, "under different masks"),
        ({"variations": ({"wd": 1},)}, "cannot vary 'wd'; valid: particle, seed, epochs, retrain"),
    ],
)
def test_mistakes_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Method(**settings)


def test_several_particles_begin_where_they_are_asked_to() -> None:
    pair = ({"particle": 0}, {"particle": 1})
    method = Method(**CUT, remove=0.2, cycles=2, rewind_step=3, variations=pair, average_from=0.5)
    numbers = [(len(c.variations), c.average_from) for c in method.plan()]
    assert numbers == [(1, None), (1, None), (2, 0.5), (2, 0.5)]
    early = dataclasses.replace(method, several_from=0)
    assert [len(c.variations) for c in early.plan()] == [1, 2, 2, 2]
    late = dataclasses.replace(method, several_from=2)
    assert [len(c.variations) for c in late.plan()] == [1, 1, 1, 2]
