"""What one small batch finds before anything is trained."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from sparsekit.core.fit_spec import Problem
from sparsekit.data.digits import digits
from sparsekit.models.lenet import mlp
from sparsekit.models.prunable import prunable
from sparsekit.networks.network import Network
from sparsekit.runs.trial import check_two_builds, try_network
from sparsekit.tasks.classification import classification
from sparsekit.tasks.regression import regression
from sparsekit.training.problem import dense_masks, initial_network, load_data

ROOT = Path("data")


class Wrapped(nn.Module):
    """A network whose output is changed by `change`."""

    def __init__(self, model: nn.Module, change: Callable[[Tensor], Any]) -> None:
        super().__init__()
        self.model, self.change = model, change

    def forward(self, images: Tensor) -> Any:
        return self.change(self.model(images))


def changed(shape: Any, num_outputs: int, *, change: str) -> nn.Module:
    changes: dict[str, Callable[[Tensor], Any]] = {
        "tuple": lambda out: (out, out),
        "wide": lambda out: torch.cat([out, out], dim=1),
        "detached": lambda out: out.detach(),
        "infinite": lambda out: out * float("inf"),
    }
    return Wrapped(mlp(shape, num_outputs), changes[change])


def narrow(shape: Any, num_outputs: int) -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Linear(7, num_outputs))


def from_outside(shape: Any, num_outputs: int) -> nn.Module:
    model = mlp(shape, num_outputs)
    nn.init.normal_(model[1].weight, generator=torch.Generator().manual_seed(torch.seed() % 2**31))
    return model


def self_seeded(shape: Any, num_outputs: int) -> nn.Module:
    torch.manual_seed(7)
    return mlp(shape, num_outputs)


def problem(model: Any, task: Any = classification) -> tuple[Problem, Network]:
    described = Problem(task, model, digits, prunable)
    return described, initial_network(described, load_data(described, ROOT), 0)


def attempt(model: Any, task: Any = classification) -> None:
    described, network = problem(model, task)
    data = load_data(described, ROOT)
    masks = dense_masks(described, network.build(), data)
    try_network(network, masks, data, task())


def test_a_network_that_works_passes() -> None:
    attempt(mlp)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("tuple", "the output of .*changed does not fit the task"),
        ("wide", "the output of .*changed does not fit the task"),
        ("detached", "must be a differentiable scalar"),
        ("infinite", "the first loss of .* is nan, not a finite number"),
    ],
)
def test_outputs_that_nothing_can_be_learnt_from(change: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        attempt(functools.partial(changed, change=change))


def test_inputs_of_another_size_name_the_batch() -> None:
    with pytest.raises(ValueError, match=r"narrow fails on a training batch of digits \[8, 1"):
        attempt(narrow)


def test_a_task_that_is_none_of_the_data() -> None:
    with pytest.raises(ValueError, match="does not fit the task on digits"):
        attempt(mlp, regression)


def test_two_builds_must_agree() -> None:
    check_two_builds(problem(mlp)[1], 1, redrawn=True)
    with pytest.raises(ValueError, match=r"draws 1\.weight from a generator of its own"):
        check_two_builds(problem(from_outside)[1], 1, redrawn=False)


def test_a_control_that_changes_nothing_is_refused() -> None:
    check_two_builds(problem(self_seeded)[1], 1, redrawn=False)
    with pytest.raises(ValueError, match="has the same whatever the seed"):
        check_two_builds(problem(self_seeded)[1], 1, redrawn=True)
