"""Judging a state: validation for choices, the test split for reports."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any, Literal

import torch
from torch import nn

from sparsekit.core.prune import apply, collapsed
from sparsekit.core.structure import structure
from sparsekit.core.types import Masks, State, Weights
from sparsekit.data.types import Data
from sparsekit.models.flops import flops
from sparsekit.store.store import Store
from sparsekit.training.evaluate import evaluate, recalibrate_
from sparsekit.training.history import EVALUATION_BATCH
from sparsekit.training.probe import GradientProbe
from sparsekit.training.problem import Task, load_data, loaded_model
from sparsekit.training.settings import Runtime


@dataclasses.dataclass(frozen=True)
class TaskJudge:
    """Judges states of one task; `identity` is the task itself."""

    identity: Task
    runtime: Runtime

    def recalibrate(self, state: State) -> State:
        """BatchNorm statistics estimated on the whole training split, without augmentation."""
        model = self._model(state)
        recalibrate_(model, self._batches("train"))
        return {name: value.detach().cpu() for name, value in model.state_dict().items()}

    def score(self, state: State) -> float:
        """Validation accuracy, 0 to 1."""
        return evaluate([self._model(state)], self._batches("val"))["accuracy"]

    def parameters(self, state: State) -> Weights:
        """The trained part of a state, without buffers."""
        names = dict(loaded_model(self.identity, self._data, state).named_parameters())
        return {name: state[name] for name in names}

    def probe(self, state: State) -> GradientProbe:
        """Gradients, curvature and flow at `state`."""
        return GradientProbe(
            partial(self._model, state),
            self._data,
            device_of(self.runtime),
            Store(Path(self.runtime.store).expanduser()),
        )

    def measure(self, states: Sequence[State]) -> dict[str, float]:
        """Accuracy and loss on validation and test of the states' mean prediction."""
        models = [self._model(state) for state in states]
        splits: tuple[Literal["val", "test"], ...] = ("val", "test")
        return {
            f"{split}_{name}": value
            for split in splits
            for name, value in evaluate(models, self._batches(split)).items()
        }

    def report(self, state: State, masks: Masks) -> dict[str, Any]:
        """Accuracy and loss on validation and test; sizes; FLOPs of one image; kept per layer."""
        pruned = apply(state, masks)
        return {**self.measure([pruned]), **sizes(self._model(pruned), masks, self._data)}

    @property
    def _data(self) -> Data:
        return load_data(self.identity, self.runtime.data_root)

    def _model(self, state: State) -> nn.Module:
        model = loaded_model(self.identity, self._data, state)
        return model.to(device_of(self.runtime)).to(memory_format=torch.channels_last)

    def _batches(self, split: Literal["train", "val", "test"]) -> Any:
        return self._data.eval_batches(
            split, batch_size=EVALUATION_BATCH, device=device_of(self.runtime)
        )


def sizes(model: nn.Module, masks: Masks, data: Data) -> dict[str, Any]:
    """Weights kept, over the prunable ones and over all parameters, FLOPs of one image, structure.

    `sparsity_prunable` is what users ask for; `sparsity_all` counts every parameter, so that
    repositories which prune different sets can be compared.
    """
    kept = {name: int(mask.sum()) for name, mask in masks.items()}
    size = {name: mask.numel() for name, mask in masks.items()}
    num_parameters = sum(p.numel() for p in model.parameters())
    num_pruned = sum(size.values()) - sum(kept.values())
    work = flops(model, data.image_shape)
    return {
        "num_prunable": sum(size.values()),
        "num_kept": sum(kept.values()),
        "num_parameters": num_parameters,
        "num_parameters_kept": num_parameters - num_pruned,
        "sparsity_prunable": num_pruned / sum(size.values()),
        "sparsity_all": num_pruned / num_parameters,
        "flops": work.total({name: kept[name] / size[name] for name in size}),
        "flops_dense": work.total({}),
        "layers": structure(masks),
        "collapsed": collapsed(masks),
    }


def device_of(runtime: Runtime) -> torch.device:
    """The device on which states are judged."""
    if runtime.accelerator == "cpu":
        return torch.device("cpu")
    if torch.cuda.is_available():
        return torch.device("cuda", torch.cuda.current_device())
    use_mps = runtime.accelerator == "mps" and torch.backends.mps.is_available()
    return torch.device("mps" if use_mps else "cpu")
