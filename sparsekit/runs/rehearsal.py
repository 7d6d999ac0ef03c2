"""Everything that can fail for a wrong value, tried before the first training step.

What has been tried is not tried again: a model's forward pass and its pruning are the same for all
learning rates and seeds of a sweep.
"""

from __future__ import annotations

import copy
import dataclasses
import functools
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from sparsekit.core.distillation import DENSE, Distillation
from sparsekit.core.fit_spec import FitSpec
from sparsekit.core.layout import outputs_first, rows_first
from sparsekit.core.types import Masks, Penalty, View
from sparsekit.method.cycle import Cycle, Method
from sparsekit.method.mistakes import check_budgets
from sparsekit.models.layers import transposed_groups
from sparsekit.networks.network import stored_network
from sparsekit.runs.rehearsal_model import (
    RehearsalModel,
    layer_table,
    prune_untrained,
    rehearsal_model,
    transform_untrained,
)
from sparsekit.runs.trial import check_two_builds, try_network, try_teacher
from sparsekit.store.identity import canonical, describe
from sparsekit.store.store import Store
from sparsekit.store.tensors import load_network
from sparsekit.training.fit import reads_gradients
from sparsekit.training.fit_schedule import FitSchedule, plan_fit
from sparsekit.training.freezing import check_trainable
from sparsekit.training.judge import NetworkJudge, device_of
from sparsekit.training.layouts import check_channels_last
from sparsekit.training.optimizers import check_rates, check_unscaling
from sparsekit.training.penalising import Penalised
from sparsekit.training.problem import Source, init_seed
from sparsekit.training.strangers import check_callbacks
from sparsekit.training.teacher import check_compiled, teacher_of
from sparsekit.training.whole_batch import check_pieces

CUT = {"norm_drop": 0.5, "fraction": 0.5}
_worked: set[str] = set()


def rehearse(
    method: Method,
    common: FitSpec,
    judge: NetworkJudge,
    *,
    source: Source | None = None,
    num_nodes: int = 1,
) -> str:
    """Load the data, build model and optimizer, plan every cycle, prune once to the last budget,
    and run one small batch through the pruned network.

    The network and its masks are those of the `source`, if the run has one. Fits are trained on the
    devices of `num_nodes`. Returns the table of layers. Raises ValueError, TypeError or OSError for
    what would fail later.
    """
    rehearsed = rehearsal_model(judge, source)
    if common.train.precision == "16-mixed" and device_of(judge.runtime).type == "cpu":
        raise ValueError("train.precision=16-mixed needs a GPU; the CPU has bf16-mixed")
    check_callbacks(
        common.callbacks, common.problem.task(), evaluate_every=common.train.evaluate_every
    )
    check_budgets(method, rehearsed.num_prunable)
    cycles = list(method.plan())
    for cycle, asked in _kinds_of_fits(cycles, common):
        fit_schedule = plan_fit(asked, rehearsed.data, CUT)
        _check_learning_rates(fit_schedule)
        leaf = asked.train.optimizer
        check_pieces(
            rehearsed.model,
            accumulate=asked.train.accumulate,
            num_devices=judge.runtime.devices * num_nodes,
        )
        if asked.train.channels_last:
            check_channels_last(rehearsed.model, device_of(judge.runtime))
        optimizer = leaf(list(rehearsed.model.named_parameters()))
        check_rates(optimizer, leaf)
        check_unscaling(optimizer, asked.train.precision, reads_gradients=reads_gradients(asked))
        check_trainable(asked, rehearsed.network)
        _try_options(cycle, asked, fit_schedule, rehearsed, judge)
    last = cycles[-1]
    if last.transform is not None and last.distillation is not None and last.variations:
        # A network of fewer weights may have lost shapes that the first cycle left.
        _try_teacher(last, last.distillation, rehearsed, judge)
    if last.sparsity > 0:
        _require_prunable(rehearsed)
    redrawn = any(cycle.reinitialises for cycle in cycles)
    work = functools.partial(_try, last, rehearsed, judge, redrawn=redrawn)
    of_cycle = [last.prune, last.sparsity, last.transform, redrawn]
    _once([rehearsed.identity, *of_cycle, judge.runtime], work)
    return "\n".join([layer_table(rehearsed.model, rehearsed.masks), *rehearsed.remarks])


def _try_options(
    cycle: Cycle,
    asked: FitSpec,
    fit_schedule: FitSchedule,
    rehearsed: RehearsalModel,
    judge: NetworkJudge,
) -> None:
    """Try whatever acts on the network while it is trained, beside the optimizer."""
    if asked.mover is not None:
        num_steps = fit_schedule.last - fit_schedule.first
        rehearse_mover = functools.partial(_move, cycle, rehearsed, judge, num_steps)
        kind = [rehearsed.identity, asked.mover, cycle.prune, cycle.sparsity, num_steps]
        _once(kind, rehearse_mover)
    if asked.view is not None:
        _view(asked.view, rehearsed)
    if asked.penalty is not None:
        _penalise(asked.penalty, rehearsed, fit_schedule.last)
    if asked.distillation is not None:
        _try_teacher(cycle, asked.distillation, rehearsed, judge)


def _try_teacher(
    cycle: Cycle, distillation: Distillation, rehearsed: RehearsalModel, judge: NetworkJudge
) -> None:
    teach = functools.partial(_teach, cycle, distillation, rehearsed, judge)
    transformed = cycle.transform and [cycle.transform, cycle.prune, cycle.sparsity]
    _once([rehearsed.identity, distillation, transformed, judge.runtime], teach)


def _view(view: View, rehearsed: RehearsalModel) -> None:
    """Let a view say which layers it cannot work on; shown with an output in every row."""
    transposed = transposed_groups(rehearsed.model)
    parameters = dict(rehearsed.model.named_parameters())
    weights = {name: parameters[name].detach() for name in rehearsed.masks}
    view.rehearse(outputs_first(weights, transposed), outputs_first(rehearsed.masks, transposed))


def _penalise(penalty: Penalty, rehearsed: RehearsalModel, num_steps: int) -> None:
    """Let a penalty choose its targets, and act once at a rate of 0, on a copy."""
    model = copy.deepcopy(rehearsed.model)
    start = model.state_dict()
    penalised = Penalised(model, penalty, start, rehearsed.masks, num_steps=num_steps)
    penalised.add_(0, 0.0)
    penalised.shrink_(0, 0.0)


def _try(cycle: Cycle, rehearsed: RehearsalModel, judge: NetworkJudge, *, redrawn: bool) -> None:
    """Prune to the sparsity of a cycle, and run a batch through everything a run does."""
    check_two_builds(rehearsed.network, init_seed(rehearsed.network.seed, 1), redrawn=redrawn)
    network, _, masks = transform_untrained(cycle, rehearsed, judge)
    try_network(network, masks, rehearsed.data, judge.identity.task())


def _teach(
    cycle: Cycle, distillation: Distillation, rehearsed: RehearsalModel, judge: NetworkJudge
) -> None:
    """Learn one batch, in the network that a cycle trains, from the teacher: the dense network
    untrained, or the one that is stored."""
    check_compiled(distillation, judge.runtime)
    network, state, masks = rehearsed.network, rehearsed.model.state_dict(), rehearsed.masks
    if distillation.teacher != DENSE:
        store = Store(Path(judge.runtime.store).expanduser())
        network = stored_network(store, distillation.teacher)
        state, masks = load_network(store, distillation.teacher)
    teach = functools.partial(teacher_of, distillation, network, state, masks)
    student = rehearsed.network
    if cycle.transform is not None:
        student, _, _ = transform_untrained(cycle, rehearsed, judge)
    try_teacher(teach, student, rehearsed.data, judge.identity.task())


def _require_prunable(rehearsed: RehearsalModel) -> None:
    if not rehearsed.masks:
        names = ", ".join(name for name, _ in rehearsed.model.named_parameters())
        raise ValueError(
            "nothing is prunable in this network: it has no weights of convolution, linear or "
            f"attention layers that are trained; prunable.include=[PATTERN] adds some of {names}"
        )


def _move(cycle: Cycle, rehearsed: RehearsalModel, judge: NetworkJudge, num_steps: int) -> Masks:
    """Try an update of the mover on the masks that it will find; return these."""
    assert cycle.mover is not None
    masks = prune_untrained(cycle, rehearsed, judge)
    mover = rows_first(cycle.mover, transposed_groups(rehearsed.model))
    mover.rehearse(rehearsed.model.state_dict(), masks, num_steps)
    return masks


def _kinds_of_fits(cycles: Sequence[Cycle], common: FitSpec) -> Iterator[tuple[Cycle, FitSpec]]:
    """Yield the fits of a method, once if they differ only in cycle and particle."""
    seen: set[str] = set()
    for cycle in cycles:
        for variation in cycle.variations:
            asked = cycle.fit(variation, common)
            if type(asked.particle) is not int:
                raise ValueError(f"variations: particle={asked.particle!r} is not a whole number")
            kind = canonical(describe(dataclasses.replace(asked, cycle=0, particle=0)))
            if kind not in seen:
                seen.add(kind)
                yield cycle, asked


def _once(kind: Any, work: Callable[[], object]) -> None:
    """Do `work` unless the same kind has worked before in this process.

    Kinds that differ in seeds are the same: what is drawn depends on the seed, whether it can be
    drawn does not, and a sweep may have hundreds.
    """
    name = canonical(_with_one_seed(describe(kind)))
    if name not in _worked:
        work()
        _worked.add(name)


def _with_one_seed(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {
            name: 0 if name == "seed" and isinstance(entry, int) else _with_one_seed(entry)
            for name, entry in value.items()
        }
    return [_with_one_seed(entry) for entry in value] if isinstance(value, list) else value


def _check_learning_rates(fit_schedule: FitSchedule) -> None:
    for step in sorted(
        {fit_schedule.first, (fit_schedule.first + fit_schedule.last) // 2, fit_schedule.last - 1}
    ):
        rate = fit_schedule.learning_rate(step)
        if not (math.isfinite(rate) and rate >= 0):
            raise ValueError(f"the schedule gives the learning rate {rate} at step {step}")
