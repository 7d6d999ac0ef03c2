"""What is wrong with the settings of a method, each with the value and what would be valid."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from typing import TYPE_CHECKING

from sparsekit.core.averaging import single, ties
from sparsekit.core.counts import budget
from sparsekit.core.distillation import DENSE
from sparsekit.core.movers import Gradual, Rewire
from sparsekit.method.variations import VARIABLE
from sparsekit.store.identity import KEY

if TYPE_CHECKING:
    from sparsekit.method.cycle import Method

SOURCES = ("ticket", "particles", "apart")
PRUNING = (
    "prune", "sparsity", "remove", "rewind_step", "mover", "view", "retrain", "retrain_epochs",
    "transform",
)  # fmt: skip


def mistakes(method: Method) -> Iterator[str]:
    """Yield one line for every mistake."""
    yield from _ranges(method)
    yield from _fits(method)
    if method.cycles:
        yield from _pruning(method)
    yield from _viewing(method)
    yield from _rewinding(method)
    yield from _averaging(method)
    yield from _distillation(method)
    yield from _several(method)
    yield from _movers(method)
    yield from _span(method)
    yield from _controls(method)
    yield from _without_cycles(method)


def _ranges(method: Method) -> Iterator[str]:
    for name in ("sparsity", "remove", "average_from"):
        value = getattr(method, name)
        if value is not None and not 0 <= value < 1:
            yield f"{name}={value} is outside 0 <= {name} < 1"
    if method.cycles < 0 or not (method.cycles or method.dense_first):
        yield f"cycles={method.cycles} with dense_first={method.dense_first} trains nothing"
    if not method.retrain_times > 0:
        yield f"retrain_times={method.retrain_times} is not positive"


def _fits(method: Method) -> Iterator[str]:
    if method.sources not in SOURCES:
        yield f"sources={method.sources!r} is not one of {', '.join(map(repr, SOURCES))}"
    if not method.variations:
        yield "variations is empty: no fit would run; [{}] is one plain fit"
    if method.num_particles < 1:
        yield f"num_particles={method.num_particles} is below 1"
    named = {name for variation in method.variations for name in variation}
    for name in sorted(named - set(VARIABLE)):
        yield f"variations cannot vary {name!r}; valid: {', '.join(VARIABLE)}"
    if "particle" in named and method.num_particles > 1:
        yield f"num_particles={method.num_particles}, but variations name particles as well"


def _pruning(method: Method) -> Iterator[str]:
    if method.prune is None and method.mover is None and _view_sparsity(method) is None:
        yield f"cycles={method.cycles} but nothing is pruned; give `prune` or cycles=0"
    if method.transform is not None and method.sources == "apart":
        yield "transform with sources='apart': particles of different networks cannot merge"
    if method.prune is None and method.sources != "ticket":
        yield f"sources={method.sources!r} needs `prune`: masks do not differ otherwise"
    if _view_sparsity(method) is None and (method.sparsity is None) == (method.remove is None):
        yield "give either `sparsity` (after the last cycle) or `remove` (per cycle)"


def _view_sparsity(method: Method) -> float | None:
    return None if method.view is None else method.view.sparsity


def _viewing(method: Method) -> Iterator[str]:
    if method.view is not None and method.mover is not None:
        yield "a view with a mover: both would say which weights are kept"
    sparsity = _view_sparsity(method)
    if sparsity is None:
        return
    if method.sparsity is not None and abs(method.sparsity - sparsity) > 1e-9:
        yield f"sparsity={method.sparsity}, but its view ends at {sparsity:g}; leave sparsity out"
    for name in (name for name in ("remove", "prune") if getattr(method, name) is not None):
        yield f"{name} with a view that prunes to {sparsity:g} itself"
    if method.cycles > 1:
        yield f"cycles={method.cycles} with a view that prunes: the first cycle ends at its masks"
    if method.average_from is not None:
        yield "average_from with a view that prunes would average weights under different masks"
    if method.num_particles * len(method.variations) > 1:
        yield "several fits with a view that prunes would be merged under different masks"


def _rewinding(method: Method) -> Iterator[str]:
    if method.rewind_step is None:
        return
    if method.rewind_step < 0:
        yield f"rewind_step={method.rewind_step} is negative"
    if method.rewind_step and not method.dense_first:
        yield f"rewind_step={method.rewind_step} needs dense_first=true"
    if method.retrain is not None:
        yield "`retrain` has its own learning rates; with `rewind_step` the schedule goes on"


def _averaging(method: Method) -> Iterator[str]:
    if method.average_from is not None and method.mover is not None:
        yield "average_from with a mover would average weights under different masks"


def _distillation(method: Method) -> Iterator[str]:
    if method.distillation is None:
        return
    teacher = method.distillation.teacher
    if teacher == DENSE and not method.dense_first:
        yield (
            "distillation.teacher=dense with dense_first=false: this method trains no dense "
            "network; give the key of a stored one, such as the ticket of method=dense"
        )
    elif teacher == DENSE and method.cycles == 0:
        yield (
            "distillation.teacher=dense with cycles=0: only the dense network is trained, which "
            "cannot learn from itself; give the key of a stored one"
        )
    elif teacher != DENSE and not KEY.fullmatch(teacher):
        yield (
            f"distillation.teacher={teacher!r} is neither 'dense' nor the key of a stored "
            "network, such as ticket-0123456789abcdef0123"
        )
    by_layer = method.distillation.features_weight and not method.distillation.layers
    if method.transform is not None and by_layer:
        yield (
            "distillation of features with `transform`: layers may lose the shape they have in the "
            "teacher; name those that keep it with distillation.layers=[PATTERN]"
        )
    if method.retrain_epochs == 0 and (teacher == DENSE or not method.dense_first):
        yield "distillation with retrain_epochs=0 would be ignored: nothing is trained"


def _several(method: Method) -> Iterator[str]:
    num_fits = method.num_particles * len(method.variations)
    if num_fits <= 1:
        return
    if method.mover is not None:
        yield "several fits with a mover would be merged under different masks"
    if _function_of(method.merge) is single:
        yield f"{num_fits} fits per cycle need a `merge`, such as merge@method.merge=uniform"
    if method.several_from > method.cycles:
        yield (
            f"several_from={method.several_from} is after the last cycle, {method.cycles}: there "
            f"would never be {num_fits} fits"
        )
    if method.retrain_epochs == 0 and method.several_from > 0:
        yield f"{num_fits} fits with retrain_epochs=0 would be ignored: nothing is trained"
    if _function_of(method.merge) is ties and _start_apart(method):
        yield "merge `ties` needs one start for all fits, which sources='apart' has only once"


def _start_apart(method: Method) -> bool:
    """Say whether some cycle prunes several particles of the cycle before each for itself."""
    return method.sources == "apart" and method.cycles > max(method.several_from, 0)


def _movers(method: Method) -> Iterator[str]:
    if isinstance(method.mover, Rewire) and method.prune is None:
        yield "a Rewire mover keeps the number of weights; give `prune` to make them fewer"
    if not isinstance(method.mover, Gradual):
        return
    if method.prune is None and method.cycles > 1:
        yield (
            f"cycles={method.cycles} with a Gradual mover: it prunes all in one fit, and nothing "
            "would be pruned after the first"
        )
    if method.sparsity != method.mover.sparsity:
        yield (
            f"sparsity={method.sparsity}, but the mover prunes to {method.mover.sparsity}; "
            "give both the same, such as sparsity= of the run"
        )


def _span(method: Method) -> Iterator[str]:
    if method.span is None:
        if method.ramp is not None:
            yield "`ramp` needs `span`; without it sparsity grows by equal fractions"
        return
    first, last = method.span
    if not 0 < first <= last < 1:
        yield f"span={list(method.span)} is not 0 < first <= last < 1"
    if method.cycles == 1 and first != last:
        yield f"span={list(method.span)} with one cycle: its only cut is after {first}, not {last}"
    if method.penalty is not None:
        yield "penalty with `span`, whose cycles are one training"
    given = ("rewind_step", "retrain", "retrain_epochs")
    for name in (name for name in given if getattr(method, name) is not None):
        yield f"{name}={getattr(method, name)} with `span`, whose cycles go on with the training"
    if not method.dense_first or method.retrain_times != 1:
        yield "`span` needs dense_first=true and retrain_times=1: its cycles are one training"


def _controls(method: Method) -> Iterator[str]:
    has_masks = method.cycles > 0
    for name in ("control", "reinitialise", "reprune"):
        if getattr(method, name) and not has_masks:
            yield f"{name} with cycles=0: there are no masks"
    if method.reprune and method.prune is None:
        yield "reprune needs `prune`"
    if method.reprune and (method.control is not None or method.reinitialise):
        yield "reprune with a control: only one of them can be last"
    untrained = method.retrain_epochs == 0
    changes = (method.control, method.mover, method.view)
    if untrained and (method.reinitialise or any(one is not None for one in changes)):
        yield "retrain_epochs=0 with a control, a mover or a view: nothing would train"


def _without_cycles(method: Method) -> Iterator[str]:
    if method.cycles:
        return
    for name in PRUNING:
        if getattr(method, name) is not None:
            yield f"{name} with cycles=0 would be ignored: the dense network is trained as it is"
    if method.retrain_times != 1:
        yield f"retrain_times={method.retrain_times} with cycles=0 would be ignored"


def check_budgets(method: Method, num_prunable: int) -> None:
    """Raise ValueError if a cycle of `method` would keep none of `num_prunable` weights.

    The message names how many cycles, or what sparsity, would leave one.
    """
    for cycle in range(1, method.cycles + 1):
        sparsity = method.sparsity_after(cycle)
        if budget(num_prunable, sparsity) > 0:
            continue
        if method.remove is not None:
            raise ValueError(
                f"method.cycles={method.cycles} with method.remove={method.remove} keeps none of "
                f"{num_prunable:,} prunable weights after cycle {cycle}; feasible are "
                f"{cycle - 1} cycles"
            )
        raise ValueError(
            f"sparsity={method.sparsity} keeps none of {num_prunable:,} prunable weights; "
            f"the largest that keeps one is {1 - 1 / num_prunable:.10g}"
        )


def _function_of(leaf: object) -> object:
    """Return the function of a leaf, whatever arguments are bound to it."""
    return leaf.func if isinstance(leaf, functools.partial) else leaf
