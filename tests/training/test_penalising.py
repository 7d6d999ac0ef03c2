"""Fits under a penalty: what it adds to gradients, what it does to weights, and when."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import pytest
import torch
from torch import nn

from sparsekit.configuration.config import ConfigError
from sparsekit.core.penalties import GroupLasso
from sparsekit.core.types import Masks, Weights
from sparsekit.runs.runner import PreparedRun, rehearse_all
from sparsekit.store.store import Store
from sparsekit.store.tensors import load_network
from sparsekit.training.penalising import Penalised

Run = Callable[..., tuple[Store, list[str]]]
STRONG = ("method=group_lasso", "method.penalty.strength=0.02", "prunable=not_head")


def penalised(model: nn.Module, lasso: GroupLasso) -> Penalised:
    masks = {
        name: torch.ones_like(p, dtype=torch.bool)
        for name, p in model.named_parameters()
        if p.ndim > 1
    }
    return Penalised(model, lasso, model.state_dict(), masks, num_steps=1)


def test_rows_become_exactly_zero_and_these_are_pruned(run_tiny: Run) -> None:
    stronger = "method.penalty.strength=0.1"
    store, tickets = run_tiny(STRONG[0], STRONG[2], stronger, "train.epochs=3", "sparsity=0.1")
    state, _ = load_network(store, tickets[0])
    _, kept = load_network(store, tickets[1])
    is_zero = torch.cat([(state[name] == 0).all(dim=1) for name in kept])
    is_pruned = torch.cat([~mask.any(dim=1) for mask in kept.values()])
    assert all(bool((mask.any(dim=1) == mask.all(dim=1)).all()) for mask in kept.values())
    assert int(is_zero.sum()) >= int(is_pruned.sum()) == 13  # of 128 rows
    assert bool(is_zero[is_pruned].all())


def test_the_penalty_is_not_that_of_the_fits_after_it(run_tiny: Run) -> None:
    store, tickets = run_tiny(*STRONG)
    specs = []
    for key in tickets:
        fit = store.description(key)["inputs"][0]
        specs.append(store.description(fit)["config"].get("penalty"))
    assert specs[0]["strength"] == 0.02
    assert specs[1] is None


def test_a_dense_training_may_come_first(run_tiny: Run) -> None:
    _, dense = run_tiny("method=dense", "prunable=not_head")
    store, tickets = run_tiny(*STRONG, "method.dense_first=true")
    assert len(tickets) == 3
    assert tickets[0] == dense[0], "it is the one of all methods"
    fits = [store.description(store.description(key)["inputs"][0]) for key in tickets]
    assert [fit["config"]["cycle"] for fit in fits] == [0, 1, 2]


def test_shortening_follows_the_step_of_the_optimizer() -> None:
    model = nn.Linear(3, 2, bias=False)
    with torch.no_grad():
        model.weight.copy_(torch.tensor([[3.0, 0.0, 4.0], [0.1, 0.0, 0.0]]))
    work = penalised(model, GroupLasso(strength=1 / 3**0.5))
    work.shrink_(step=0, rate=1.0)
    expected = torch.tensor([[2.4, 0.0, 3.2], [0.0, 0.0, 0.0]])
    assert torch.allclose(model.weight, expected, atol=1e-6)


def test_gradients_are_added_to_those_there_are() -> None:
    model = nn.Sequential(nn.Linear(2, 1), nn.Linear(1, 1))
    with torch.no_grad():
        model[0].weight.copy_(torch.tensor([[3.0, 4.0]]))
    model[0].weight.grad = torch.ones(1, 2)
    penalised(model, GroupLasso(strength=1 / 2**0.5, by="gradient")).add_(step=0, rate=0.1)
    assert torch.allclose(model[0].weight.grad, torch.tensor([[1.6, 1.8]]))
    assert model[1].weight.grad is None, "what has no gradient takes no step"


def test_transposed_convolutions_lose_output_channels() -> None:
    torch.manual_seed(0)
    model = nn.ConvTranspose2d(4, 3, 2, bias=False)
    with torch.no_grad():
        model.weight[:, 1] *= 1e-3
    penalised(model, GroupLasso(strength=0.1)).shrink_(step=0, rate=0.1)
    assert [bool((model.weight[:, row] == 0).all()) for row in range(3)] == [False, True, False]


@pytest.mark.usefixtures("warm_spawn")
def test_two_devices_shrink_alike(run_tiny: Run) -> None:
    store, one = run_tiny(*STRONG)
    other, two = run_tiny(*STRONG, "runtime.devices=2", store="two")
    first, second = load_network(store, one[0])[0], load_network(other, two[0])[0]
    assert all(torch.allclose(v, second[n], rtol=0, atol=1e-3) for n, v in first.items())


def test_a_penalty_that_finds_nothing_is_refused_in_rehearsal(
    tiny: Callable[..., PreparedRun],
) -> None:
    asked = [
        "method=group_lasso",
        "method.penalty={_target_:tests.training.test_penalising.Nothing}",
    ]
    with pytest.raises(ConfigError, match="nothing to pull at"):
        rehearse_all([tiny(*asked)])


@dataclasses.dataclass(frozen=True)
class Nothing:
    """A penalty of somebody's own that fits no network."""

    def targets(self, weights: Weights, masks: Masks) -> Masks:
        raise ValueError("nothing to pull at")
