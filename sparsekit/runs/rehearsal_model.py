"""The network that a run begins with, untrained, and what a cycle would make of it."""

from __future__ import annotations

import dataclasses
import functools
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from torch import nn

from sparsekit.configuration import config
from sparsekit.core.counts import budget
from sparsekit.core.fit_spec import Problem
from sparsekit.core.layout import prune_rows
from sparsekit.core.prune import total_kept
from sparsekit.core.types import Masks, State
from sparsekit.data.types import Data
from sparsekit.method.cycle import Cycle
from sparsekit.models.applied import check_masks_apply, coverage
from sparsekit.models.layers import transposed_groups
from sparsekit.networks.network import Network
from sparsekit.store.identity import canonical, describe
from sparsekit.store.store import Store
from sparsekit.training.judge import NetworkJudge
from sparsekit.training.problem import Source, first_network, load_data


@dataclasses.dataclass(frozen=True)
class RehearsalModel:
    """The untrained model of a problem, or that of a source; its data; its masks.

    `identity`: of what it is the model. `remarks`: what a user should know of the rest of it.
    """

    identity: Any
    data: Data
    network: Network
    model: nn.Module
    masks: Masks
    remarks: Sequence[str]

    @property
    def num_prunable(self) -> int:
        """Number of weights of which sparsities are fractions."""
        return self.network.num_prunable(self.masks)


def rehearsal_model(judge: NetworkJudge, source: Source | None) -> RehearsalModel:
    """Return the model that runs of a problem begin with; ValueError if they cannot."""
    described = canonical(describe([judge.identity, source]))
    runtime = judge.runtime
    return _built(described, str(Path(runtime.store).expanduser()), runtime.data_root)


@functools.lru_cache(maxsize=1)
def _built(described: str, store: str, root: Path) -> RehearsalModel:
    """Build the model. Only one is kept, because models may be large."""
    identity = json.loads(described)
    problem: Problem = config.build(identity[0])
    source: Source | None = None if identity[1] is None else config.build(identity[1])
    data = load_data(problem, root)
    network, state, masks = first_network(problem, data, 0, store=Store(Path(store)), source=source)
    model = network.loaded(state)
    remarks = coverage(model, masks, data.example()).lines()
    return RehearsalModel(identity, data, network, model, masks, remarks)


def prune_untrained(cycle: Cycle, rehearsed: RehearsalModel, judge: NetworkJudge) -> Masks:
    """Prune the model to the sparsity of a cycle; ValueError if masks have no effect.

    What a source has pruned already stays pruned.
    """
    state, masks = rehearsed.model.state_dict(), rehearsed.masks
    num_kept = budget(rehearsed.num_prunable, cycle.sparsity)
    if cycle.prune is not None and num_kept < total_kept(masks):
        weights = {name: state[name] for name in masks}
        probe = judge.on(rehearsed.network).probe(state)
        transposed = transposed_groups(rehearsed.model)
        masks = prune_rows(cycle.prune, weights, masks, probe, num_kept, transposed=transposed)
    if cycle.sparsity > 0 or masks_prune(masks):
        check_masks_apply(rehearsed.model, masks, rehearsed.data.example())
    return masks


def transform_untrained(
    cycle: Cycle, rehearsed: RehearsalModel, judge: NetworkJudge
) -> tuple[Network, State, Masks]:
    """Prune the model, and transform it if the cycle does."""
    network, state = rehearsed.network, rehearsed.model.state_dict()
    masks = prune_untrained(cycle, rehearsed, judge)
    if cycle.transform is not None:
        probe = judge.on(network).probe(state)
        network, state, masks = cycle.transform(network, state, masks, probe)
        network.loaded(state)
    return network, state, masks


def masks_prune(masks: Masks) -> bool:
    """Say whether any weight is pruned."""
    return not all(bool(mask.all()) for mask in masks.values())


def layer_table(model: nn.Module, masks: Masks) -> str:
    """Tabulate prunable weights, one line each, and what is left alone."""
    total = sum(p.numel() for p in model.parameters())
    prunable = sum(mask.numel() for mask in masks.values())
    width = max((len(name) for name in masks), default=0)
    lines = [f"prunable: {prunable:,} of {total:,} parameters"]
    for name, mask in masks.items():
        shape = "x".join(str(size) for size in mask.shape)
        lines.append(f"  {name:<{width}}  {shape:>16}  {mask.numel():>11,}")
    return "\n".join(lines)
