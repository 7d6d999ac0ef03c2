"""Plans as literal tables, and the mistakes a method refuses."""

from __future__ import annotations

import dataclasses
from functools import partial
from types import SimpleNamespace
from typing import Any

import pytest

from sparsekit.core import controls, rules, schedules, scores
from sparsekit.core.allocate import globally
from sparsekit.core.averaging import ties, uniform_soup
from sparsekit.core.fit_spec import FitSpec, Problem
from sparsekit.core.learning_rates import cosine, fine_tune
from sparsekit.core.movers import Gradual, Rewire
from sparsekit.core.patterns import unstructured
from sparsekit.core.penalties import GroupLasso
from sparsekit.core.prune import prune
from sparsekit.core.views import StraightThrough
from sparsekit.method.cycle import OF_FITS, Cycle, Method
from sparsekit.method.mistakes import check_budgets
from sparsekit.store.identity import describe
from sparsekit.training.optimizers import sgd
from sparsekit.training.settings import Train

PROBLEM = Problem(len, len, len, len)
CUT: dict[str, Any] = {"prune": partial(prune)}
MOVER = Rewire(rule=rules.rigl_rule)
GRADUAL = Gradual(sparsity=0.5, score=scores.magnitude, allocate=globally, pattern=unstructured)
MOVED: dict[str, Any] = {"mover": GRADUAL, "sparsity": 0.5, "cycles": 1}
MERGED: dict[str, Any] = {**CUT, "remove": 0.2, "cycles": 2, "merge": partial(uniform_soup)}
ALONG: dict[str, Any] = {**CUT, "sparsity": 0.9, "cycles": 3, "span": (0.25, 0.75)}
LATE: dict[str, Any] = {"dense_first": False, "rewind_step": 5}


def plain_optimizer(parameters: Any, *, beta: float = 0.9) -> None:
    """Takes the place of an optimizer without weight decay."""


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
        ({"sources": "all"}, "'all' is not one of 'ticket', 'particles'"),
        ({"variations": ()}, "variations is empty"),
        ({"average_from": 1.0}, "average_from=1.0 is outside"),
        ({"average_from": 0.5, "mover": MOVER}, "under different masks"),
        ({"num_particles": 2, "mover": MOVER}, "under different masks"),
        (
            {**CUT, "remove": 0.2, "cycles": 1, "num_particles": 2},
            "2 fits per cycle need a `me",
        ),
        (
            {**MERGED, "num_particles": 2, "several_from": 3},
            "several_from=3 is after the last",
        ),
        ({**MERGED, "num_particles": 2, "retrain_epochs": 0}, "2 fits with retrain_epochs=0"),
        (
            {**MERGED, "num_particles": 2, "sources": "apart", "merge": partial(ties, density=0.5)},
            "`ties` needs one start",
        ),
        ({**MOVED, "mover": MOVER}, "a Rewire mover keeps the number of weights; give `prune`"),
        ({**MOVED, "cycles": 3}, "cycles=3 with a Gradual mover"),
        ({**MOVED, "sparsity": 0.9}, "sparsity=0.9, but the mover prunes to 0.5"),
        ({**CUT}, "prune with cycles=0 would be ignored"),
        ({"sparsity": 0.5}, "sparsity with cycles=0 would be ignored"),
        ({"rewind_step": 5}, "rewind_step with cycles=0 would be ignored"),
        ({"retrain_times": 2}, "retrain_times=2 with cycles=0 would be ignored"),
        ({**ALONG, "cycles": 1}, r"span=\[0.25, 0.75\] with one cycle"),
        ({"variations": ({"wd": 1},)}, "cannot vary 'wd'; valid: particle, .*weight_decay, peak"),
        ({"num_particles": 0}, "num_particles=0 is below 1"),
        ({"num_particles": 2, "variations": ({"particle": 1},)}, "name particles as well"),
        ({**CUT, "sparsity": 0.5, "cycles": 1, "retrain_times": 0}, "retrain_times=0 is not"),
        ({**ALONG, "span": (0.0, 0.5)}, r"span=\[0.0, 0.5\] is not 0 < first"),
        ({**ALONG, "span": (0.6, 0.5)}, r"span=\[0.6, 0.5\] is not"),
        ({**ALONG, "rewind_step": 0}, "rewind_step=0 with `span`"),
        ({**ALONG, "dense_first": False}, "`span` needs dense_first=true"),
        ({**CUT, "sparsity": 0.5, "cycles": 1, "ramp": schedules.cubic}, "`ramp` needs `span`"),
        ({"retrain_epochs": 3}, "retrain_epochs with cycles=0 would be ignored"),
        ({"reinitialise": True}, "reinitialise with cycles=0: there are no masks"),
        ({**MOVED, "reprune": True}, "reprune needs `prune`"),
        ({**MOVED, "sources": "apart"}, "sources='apart' needs `prune`"),
        ({**ALONG, "reprune": True, "reinitialise": True}, "only one of them can be last"),
        ({**MOVED, "retrain_epochs": 0}, "nothing would train"),
    ],
)
def test_mistakes_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Method(**settings)


def test_several_particles_begin_where_they_are_asked_to() -> None:
    pair = ({"particle": 0}, {"particle": 1})
    method = Method(**MERGED, rewind_step=3, variations=pair, average_from=0.5)
    numbers = [(len(c.variations), c.average_from) for c in method.plan()]
    # the anchor is the state at step 3 itself; every other fit is averaged, also if it is the only
    assert numbers == [(1, None), (1, 0.5), (2, 0.5), (2, 0.5)]
    early = dataclasses.replace(method, several_from=0)
    assert [len(c.variations) for c in early.plan()] == [1, 2, 2, 2]
    late = dataclasses.replace(method, several_from=2)
    assert [len(c.variations) for c in late.plan()] == [1, 1, 1, 2]


def test_several_fits_are_every_variation_with_every_particle() -> None:
    decays = ({"weight_decay": 0.1}, {"weight_decay": 0.2})
    method = Method(**{**MERGED, "cycles": 1}, variations=decays, num_particles=2)
    assert [c.variations for c in method.plan()][1] == (
        {"particle": 0, "weight_decay": 0.1},
        {"particle": 1, "weight_decay": 0.1},
        {"particle": 0, "weight_decay": 0.2},
        {"particle": 1, "weight_decay": 0.2},
    )


def test_a_span_cuts_one_training_into_parts() -> None:
    plan = list(Method(**ALONG, ramp=schedules.linear).plan())
    assert [c.phase for c in plan] == [(0.0, 0.25), (0.25, 0.5), (0.5, 0.75), (0.75, 1.0)]
    assert [round(c.sparsity, 4) for c in plan] == [0.0, 0.3, 0.6, 0.9]
    geometric = list(Method(**ALONG).plan())
    assert [round(c.sparsity, 4) for c in geometric] == [0.0, 0.5358, 0.7846, 0.9]


def test_a_control_changes_only_the_last_cycle() -> None:
    plain = Method(**CUT, remove=0.2, cycles=2, rewind_step=3)
    for settings in ({"control": controls.across_layers}, {"reinitialise": True}):
        controlled = list(dataclasses.replace(plain, **settings).plan())
        anchor, dense, on_the_way, _ = plain.plan()
        hidden = dataclasses.replace(on_the_way, is_result=False)
        assert controlled[:-1] == [anchor, dense, hidden]
        assert controlled[-1].control == settings.get("control")
        assert controlled[-1].reinitialises == settings.get("reinitialise", False)


def test_masks_that_moved_are_controlled_in_a_cycle_of_their_own() -> None:
    plain = Method(**MOVED)
    controlled = list(dataclasses.replace(plain, control=controls.within_layers).plan())
    dense, moved = plain.plan()
    *before, last = controlled
    assert before == [dense, dataclasses.replace(moved, is_result=False)]
    assert last.is_result
    assert (last.index, last.mover, last.prune, last.rewinds) == (2, None, None, True)
    assert last.control is controls.within_layers


def test_repruning_prunes_the_last_ticket_and_trains_nothing() -> None:
    method = Method(**MERGED, sources="apart", num_particles=2, reprune=True)
    plan = list(method.plan())
    assert [c.sources for c in plan] == ["ticket", "apart", "apart", "ticket"]
    assert [c.is_result for c in plan] == [True, False, False, True]
    assert (plan[-1].variations, plan[-1].sparsity) == ((), 0.36)


@pytest.mark.parametrize(
    ("settings", "num_prunable", "message"),
    [
        # 1000 * 0.05^3 = 0.125, which rounds to none
        ({"remove": 0.95, "cycles": 5}, 1000, "none of 1,000 .* after cycle 3; feasible are 2 c"),
        (
            {"sparsity": 0.9996, "cycles": 1},
            1000,
            "none of 1,000 .* keeps one is 0.999$",
        ),
    ],
)
def test_a_budget_of_nothing_is_refused_with_what_is_feasible(
    settings: dict[str, Any], num_prunable: int, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        check_budgets(Method(**CUT, **settings), num_prunable)
    check_budgets(Method(**CUT, remove=0.95, cycles=2), num_prunable)
    check_budgets(Method(**CUT, sparsity=0.999, cycles=1), num_prunable)


def test_cycles_of_no_epochs_only_prune() -> None:
    plan = list(Method(**CUT, sparsity=0.9, cycles=3, retrain_epochs=0).plan())
    assert [len(c.variations) for c in plan] == [1, 0, 0, 0]


def test_variations_change_the_training_in_its_place() -> None:
    train = Train(1, 8, optimizer=sgd, schedule=partial(cosine, peak=0.1))
    common = FitSpec(PROBLEM, train, seed=3)
    asked = Cycle(2).fit({"particle": 1, "weight_decay": 0.5, "peak": 0.2}, common)
    assert (asked.cycle, asked.particle, asked.seed) == (2, 1, 3)
    assert describe(asked.train.optimizer) == {**describe(sgd), "weight_decay": 0.5}
    assert describe(asked.train.schedule) == {**describe(train.schedule), "peak": 0.2}
    assert common.train is train, "what is common to all fits is left alone"
    bare = FitSpec(PROBLEM, dataclasses.replace(train, optimizer=plain_optimizer), seed=3)
    with pytest.raises(ValueError, match=r"vary weight_decay, but train.optimizer=.* has only be"):
        Cycle(0).fit({"weight_decay": 1.0}, bare)


def test_a_penalty_has_a_training_of_its_own_before_the_first_cycle() -> None:
    lasso = GroupLasso(strength=0.1)
    asked: dict[str, Any] = {**CUT, "sparsity": 0.5, "penalty": lasso}
    plan = list(Method(**asked, cycles=2).plan())
    assert [(c.index, c.sparsity) for c in plan][:2] == [(0, 0.0), (1, 0.0)]
    assert [c.index for c in plan] == [0, 1, 2, 3]
    assert [c.penalty for c in plan] == [None, lasso, None, None]
    assert [c.is_result for c in plan] == [True, False, True, True]
    assert plan[-1].sparsity == 0.5
    instead = list(Method(**asked, cycles=1, dense_first=False).plan())
    assert [(c.index, c.penalty, c.is_result) for c in instead] == [
        (0, lasso, True),
        (1, None, True),
    ]


def test_a_view_that_prunes_says_the_sparsity() -> None:
    view = StraightThrough(n=1, m=4)
    plan = list(Method(view=view, cycles=1, dense_first=False).plan())
    assert [(c.index, c.sparsity, c.view) for c in plan] == [(1, 0.75, view)]
    assert Method(view=view, sparsity=0.75, cycles=1).plan()


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"sparsity": 0.5}, r"sparsity=0.5, but its view ends at 0.75; leave sparsity out"),
        ({"remove": 0.2}, "remove with a view"),
        (CUT, "prune with a view"),
        ({"mover": MOVER}, "a view with a mover"),
        ({"cycles": 2}, "cycles=2 with a view that prunes"),
        ({"average_from": 0.5}, "average_from with a view that prunes"),
        ({"num_particles": 2}, "several fits with a view that prunes"),
        ({"cycles": 0}, "view with cycles=0"),
        ({"retrain_epochs": 0}, "retrain_epochs=0 with"),
    ],
)
def test_what_a_view_that_prunes_does_not_go_with(asked: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Method(**{"view": StraightThrough(n=1, m=4), "cycles": 1, **asked})


def test_a_penalty_is_not_part_of_one_training() -> None:
    with pytest.raises(ValueError, match="penalty with `span`"):
        Method(**ALONG, penalty=GroupLasso(strength=0.1))


@pytest.mark.parametrize(
    "name", sorted({f.name for f in dataclasses.fields(Method)} & set(OF_FITS))
)
def test_what_a_method_asks_of_fits_is_in_its_plan(name: str) -> None:
    """A setting that its author forgot in the plan would be ignored without a word."""
    method, asked = (
        Method(sparsity=0.5, cycles=1, **CUT),
        SimpleNamespace(sparsity=None, teacher=""),
    )
    object.__setattr__(method, name, asked)  # whatever is valid of it is no matter here
    assert any(getattr(cycle, name) is asked for cycle in method.plan())
