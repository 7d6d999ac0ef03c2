"""Judging a state: validation for choices, the test split for reports."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from sparsekit.core.fit_spec import Problem
from sparsekit.core.layout import Transposed, outputs_first
from sparsekit.core.prune import apply, collapsed
from sparsekit.core.structure import structure
from sparsekit.core.types import Masks, State, Weights
from sparsekit.data.types import Data
from sparsekit.models.applied import coverage
from sparsekit.models.flops import flops
from sparsekit.models.layers import transposed_groups
from sparsekit.networks.network import Network
from sparsekit.store.store import Store
from sparsekit.tasks.metric import Metric
from sparsekit.tasks.types import Task
from sparsekit.training.cost import flops_of, flops_of_recalibration
from sparsekit.training.evaluate import (
    EVALUATION_BATCH,
    augmented_epoch,
    evaluate,
    outputs_of,
    recalibrate_,
)
from sparsekit.training.layouts import best_layout
from sparsekit.training.probe import GradientProbe
from sparsekit.training.problem import load_data
from sparsekit.training.settings import Runtime

Split = Literal["train", "val", "test"]


@dataclasses.dataclass(frozen=True)
class NetworkJudge:
    """Judges states of one network on a problem; see `method.judge.Judge`.

    `network` is None until it is put `on` one: then it only says which problem it judges. `spent`
    are the operations of what it did beside judging; judges of other networks share it.
    """

    identity: Problem
    runtime: Runtime
    network: Network | None = None
    spent: list[float] = dataclasses.field(default_factory=list, compare=False, repr=False)

    @property
    def primary(self) -> Metric:
        return self._task.primary

    @property
    def has_ensemble(self) -> bool:
        return self._task.mean_prediction is not None

    def on(self, network: Network) -> NetworkJudge:
        """Return the judge of states of `network`."""
        return dataclasses.replace(self, network=network)

    def beside(self, data: Callable[..., Data]) -> NetworkJudge:
        """Return the judge of the same network with other data in the place of its own."""
        return dataclasses.replace(self, identity=dataclasses.replace(self.identity, data=data))

    def data_identity(self) -> tuple[str, str]:
        """Return name and fingerprint of the data set."""
        return self._data.name, self._data.fingerprint()

    def recalibrate(self, state: State) -> State:
        """Return a state with BatchNorm statistics of one augmented epoch."""
        model = self.model(state)
        recalibrate_(model, augmented_epoch(self._data, device_of(self.runtime)))
        self.spent.append(flops_of_recalibration(model, self._network, self._data.num_train))
        return {name: value.detach().cpu() for name, value in model.state_dict().items()}

    def validate(self, state: State) -> float:
        """Return the primary metric on the validation split."""
        measured = evaluate(self._task, [self.model(state)], self.batches("val"))
        return measured[self.primary.name]

    def parameters(self, state: State) -> Weights:
        """Return the trained part of a state, without buffers."""
        names = dict(self._network.loaded(state).named_parameters())
        return {name: state[name] for name in names}

    def transposed(self) -> Transposed:
        """Return which weights of the network are stored inputs first."""
        return transposed_groups(self._network.build())

    def probe(self, state: State) -> GradientProbe:
        """Return gradients, curvature and flow at `state`."""
        return GradientProbe(
            partial(self.model, state),
            self._data,
            self._task,
            device_of(self.runtime),
            Store(Path(self.runtime.store).expanduser()),
            lambda passes: self.spent.append(passes * flops_of(self._network).total({})),
        )

    def flops_spent(self) -> float:
        """Return the operations of probes and re-estimated statistics so far, of all networks."""
        return sum(self.spent)

    def measure(
        self, states: Sequence[State], splits: Sequence[Split] = ("val", "test")
    ) -> dict[str, float]:
        """Return every metric on validation and test of the states' mean prediction."""
        models = [self.model(state) for state in states]
        return {
            f"{split}_{name}": value
            for split in splits
            for name, value in evaluate(self._task, models, self.batches(split)).items()
        }

    def report(self, state: State, masks: Masks) -> dict[str, Any]:
        """Return metrics on validation and test; sizes; FLOPs of one example; kept per layer."""
        pruned = apply(state, masks)
        measured = {**self.measure([pruned]), "primary": dataclasses.asdict(self.primary)}
        return {**measured, **sizes(self._network, self.model(pruned), masks)}

    def model(self, state: State) -> nn.Module:
        """Return the network with the weights `state`, on the device."""
        model = self._network.loaded(state)
        device = device_of(self.runtime)
        return model.to(device).to(memory_format=best_layout(model, device))

    def batches(self, split: Split) -> Iterator[tuple[Any, Any]]:
        """Return the batches of a split, not augmented."""
        return self._data.eval_batches(
            split, batch_size=EVALUATION_BATCH, device=device_of(self.runtime)
        )

    def outputs(self, state: State, split: Split) -> Iterator[tuple[Any, Any]]:
        """Yield outputs and targets of the batches of a split, in evaluation mode."""
        return outputs_of(self.model(state), self.batches(split))

    def pixel_scale(self) -> tuple[Tensor, Tensor] | None:
        """Return mean and std [C] of normalised images; None for other data."""
        found = [getattr(self._data, name, None) for name in ("mean", "std")]
        if any(one is None for one in found):
            return None
        mean, std = (torch.as_tensor(one, dtype=torch.float32).reshape(-1) for one in found)
        return mean, std

    @property
    def _network(self) -> Network:
        assert self.network is not None, "a judge that is asked about states is on a network"
        return self.network

    @property
    def _task(self) -> Task:
        task: Task = self.identity.task()
        return task

    @property
    def _data(self) -> Data:
        return load_data(self.identity, self.runtime.data_root)


def sizes(network: Network, model: nn.Module, masks: Masks) -> dict[str, Any]:
    """Return weights kept, of the prunable ones and of all parameters, FLOPs, structure.

    `sparsity_prunable` is what users ask for; `sparsity_all` counts every parameter, so that
    repositories which prune different sets can be compared. Both count from the network before
    transformations; `num_parameters` and FLOPs are those of the network as it is. `warnings` say
    what neither tells.
    """
    kept = {name: int(mask.sum()) for name, mask in masks.items()}
    size = {name: mask.numel() for name, mask in masks.items()}
    num_parameters = sum(p.numel() for p in model.parameters())
    num_parameters_kept = num_parameters - sum(size.values()) + sum(kept.values())
    original = network.sizes(model, masks)
    work = flops(model, network.example())
    return {
        "num_prunable": original["num_prunable"],
        "num_kept": sum(kept.values()),
        "num_parameters": num_parameters,
        "num_parameters_kept": num_parameters_kept,
        "sparsity_prunable": _lost(sum(kept.values()), original["num_prunable"]),
        "sparsity_all": _lost(num_parameters_kept, original["num_parameters"]),
        "flops": work.total({name: kept[name] / size[name] for name in size}),
        "flops_dense": work.total({}),
        "layers": structure(outputs_first(masks, transposed_groups(model))),
        "collapsed": collapsed(masks),
        "warnings": [*coverage(model, masks, network.example()).warnings(), *network.warnings()],
    }


def _lost(left: int, total: int) -> float:
    return (total - left) / total


def device_of(runtime: Runtime) -> torch.device:
    """Return the device on which states are judged."""
    if runtime.accelerator == "cpu":
        return torch.device("cpu")
    if torch.cuda.is_available():
        return torch.device("cuda", torch.cuda.current_device())
    use_mps = runtime.accelerator == "mps" and torch.backends.mps.is_available()
    return torch.device("mps" if use_mps else "cpu")
