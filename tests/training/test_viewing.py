"""Fits whose forward pass sees a view: two sets of weights, of which one is kept, one published."""

from __future__ import annotations

import dataclasses
import functools
import itertools
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from sparsekit.configuration.config import ConfigError
from sparsekit.core.views import StraightThrough
from sparsekit.networks.network import stored_network
from sparsekit.report.compare import differences
from sparsekit.runs.runner import PreparedRun, rehearse_all, run_prepared
from sparsekit.store.store import Store
from sparsekit.store.tensors import load_network
from sparsekit.system import executors
from sparsekit.training.checkpoints import Checkpoints
from sparsekit.training.module import FitModule
from sparsekit.training.observing import RunningFit
from sparsekit.training.problem import load_data
from sparsekit.training.viewing import ViewedNetwork
from tests import warm

Run = Callable[..., tuple[Store, list[str]]]
Tiny = Callable[..., PreparedRun]
ADAMW = "train.optimizer={_target_:sparsekit.training.optimizers.adamw}"
STRONG = "method.view.decay=0.05"


class AuthorsSparse(torch.autograd.Function):
    """What SR-STE is in the code of its authors: the gradient is changed in the backward pass."""

    @staticmethod
    def forward(context: torch.autograd.function.FunctionCtx, weight: Tensor) -> Tensor:
        order = weight.abs().reshape(-1, 4).argsort(dim=1, stable=True)
        mask = torch.ones_like(order, dtype=torch.bool).scatter_(1, order[:, :2], False)
        context.save_for_backward(weight, mask.view_as(weight))
        return weight * mask.view_as(weight)

    @staticmethod
    def backward(context: torch.autograd.function.FunctionCtx, gradient: Tensor) -> Tensor:
        weight, mask = context.saved_tensors
        return gradient + 0.05 * (1 - mask.float()) * weight


def batches(job: PreparedRun, spec_seed: int, num_steps: int) -> Iterator[tuple[Tensor, Tensor]]:
    data = load_data(job.common.problem, job.runtime.data_root)
    return itertools.islice(
        data.train_batches(
            batch_size=64,
            seed=spec_seed,
            epoch=0,
            first=0,
            rank=0,
            world_size=1,
            device=torch.device("cpu"),
        ),
        num_steps,
    )


def trained_by_hand(job: PreparedRun, store: Store, fit: str, module: FitModule) -> nn.Module:
    """The fit again, as a plain loop: SGD gets the pull in the gradient, AdamW apart from it."""
    start = store.description(fit)["inputs"][0]
    model = stored_network(store, start).loaded(load_network(store, start)[0])
    optimizer = job.common.train.optimizer(list(model.named_parameters()))
    is_adamw = isinstance(optimizer, torch.optim.AdamW)
    layers = [layer for layer in model.modules() if isinstance(layer, nn.Linear)]
    for step, (images, labels) in enumerate(batches(job, module.fit_schedule.seed, module.step)):
        optimizer.param_groups[0]["lr"] = rate = module.fit_schedule.learning_rate(step)
        for group in optimizer.param_groups:
            group["lr"] = rate
        optimizer.zero_grad()
        hidden = images.flatten(1)
        for depth, layer in enumerate(layers):
            weight = AuthorsSparse.apply(layer.weight)
            hidden = nn.functional.linear(hidden, weight, layer.bias)
            hidden = hidden.relu() if depth < len(layers) - 1 else hidden
        cross_entropy(hidden, labels).backward()
        if is_adamw:
            for layer in layers:
                pulled = AuthorsSparse.apply(layer.weight.detach().requires_grad_())
                pruned = (pulled == 0) * layer.weight.detach()
                assert layer.weight.grad is not None
                layer.weight.grad -= 0.05 * pruned
                layer.weight.data -= rate * 0.05 * pruned
        optimizer.step()
    return model


@pytest.fixture
def last_module(monkeypatch: pytest.MonkeyPatch) -> list[FitModule]:
    """The modules of the fits that were trained in this process."""
    found: list[FitModule] = []
    resume = Checkpoints.resume

    def noting(self: Checkpoints, fit: RunningFit) -> None:
        found.append(fit.module)
        resume(self, fit)

    monkeypatch.setattr(Checkpoints, "resume", noting)
    return found


@pytest.mark.parametrize(
    "optimizer", [[], [ADAMW, "train.schedule.peak=0.01"]], ids=["SGD", "AdamW"]
)
def test_it_is_the_algorithm_of_its_authors(
    optimizer: list[str], run_tiny: Run, tiny: Tiny, last_module: list[FitModule]
) -> None:
    asked = ["method=sr_ste", STRONG, *optimizer]
    store, tickets = run_tiny(*asked)
    fit = store.description(tickets[-1])["inputs"][0]
    expected = trained_by_hand(tiny(*asked), store, fit, last_module[-1]).state_dict()
    underlying = last_module[-1].model.state_dict()
    for name, value in underlying.items():
        assert torch.allclose(value, expected[name], rtol=0, atol=1e-5), name
    state, masks = load_network(store, fit)
    for name, mask in masks.items():
        assert float((underlying[name][~mask] != 0).float().mean()) > 0.9, "they went on learning"
        assert bool((state[name][~mask] == 0).all())
        assert torch.equal(state[name][mask], underlying[name][mask])


def test_pruned_weights_are_pulled_towards_zero(
    run_tiny: Run, last_module: list[FitModule]
) -> None:
    sizes = []
    for decay in (0.0, 2.0):
        store, tickets = run_tiny("method=sr_ste", f"method.view.decay={decay}", "train.epochs=3")
        masks = load_network(store, tickets[-1])[1]
        weights = last_module[-1].model.state_dict()
        sizes.append(sum(float(weights[name][~mask].abs().sum()) for name, mask in masks.items()))
    assert sizes[1] < sizes[0] / 2


@pytest.mark.parametrize(
    ("view", "kept"), [("two_four", 0.5), ("four_eight", 0.5), ("one_four", 0.25)]
)
def test_every_layer_keeps_exactly_its_part(view: str, kept: float, run_tiny: Run) -> None:
    store, tickets = run_tiny("method=sr_ste", f"view@method.view={view}")
    metrics = store.read(tickets[-1], "metrics.json")
    assert [layer["kept"] for layer in metrics["layers"].values()] == [
        4096 * kept, 4096 * kept, 640 * kept
    ]  # fmt: skip
    assert metrics["sparsity_prunable"] == 1 - kept
    assert metrics["flops"] == metrics["flops_dense"] * kept
    assert metrics["average_num_kept"] == 8832, "all of them were trained"


def test_validation_within_the_fit_judges_what_is_published(run_tiny: Run) -> None:
    store, tickets = run_tiny("method=sr_ste", STRONG, "train.epochs=2")
    fit = store.description(tickets[-1])["inputs"][0]
    rows = store.read(fit, "history.json")
    metrics = store.read(tickets[-1], "metrics.json")
    assert rows[-1]["val_loss"] == pytest.approx(metrics["val_loss"], abs=1e-6)
    assert [row["num_kept"] for row in rows] == [4416, 4416]


def test_looking_at_it_changes_nothing(run_tiny: Run) -> None:
    """The projection is put in the place of the weights to be judged, and they are put back."""
    store, often = run_tiny("method=sr_ste", "train.epochs=4")
    _, seldom = run_tiny("method=sr_ste", "train.epochs=4", "train.evaluate_every=4")
    states = [load_network(store, keys[-1])[0] for keys in (often, seldom)]
    assert often != seldom
    assert all(torch.equal(value, states[1][name]) for name, value in states[0].items())


def test_statistics_of_normalisation_are_those_of_what_is_seen(run_tiny: Run) -> None:
    asked = ["method=sr_ste", "model=resnet20", "train.epochs=0.5"]
    asked += ["prunable.exclude=[conv.weight]"]
    store, tickets = run_tiny(*asked)
    metrics = store.read(tickets[-1], "metrics.json")
    assert metrics["sparsity_prunable"] == 0.5
    fit = store.description(tickets[-1])["inputs"][0]
    rows = store.read(fit, "history.json")
    assert rows[-1]["val_loss"] == pytest.approx(metrics["val_loss"], abs=1e-5)


def test_pieces_of_a_batch_are_pulled_once(run_tiny: Run) -> None:
    store, whole = run_tiny("method=sr_ste", STRONG)
    _, pieces = run_tiny("method=sr_ste", STRONG, "train.accumulate=4")
    states = [load_network(store, keys[-1])[0] for keys in (whole, pieces)]
    assert all(torch.allclose(v, states[1][n], rtol=0, atol=1e-4) for n, v in states[0].items())


@pytest.mark.usefixtures("warm_spawn")
def test_two_devices_see_the_same(run_tiny: Run) -> None:
    store, one = run_tiny("method=sr_ste", STRONG)
    other, two = run_tiny("method=sr_ste", STRONG, "runtime.devices=2", store="two")
    first, second = load_network(store, one[-1]), load_network(other, two[-1])
    for name, mask in first[1].items():
        assert float((mask == second[1][name]).float().mean()) > 0.99
        assert int(second[1][name].sum()) == mask.numel() // 2
    assert all(torch.allclose(v, second[0][n], rtol=0, atol=1e-3) for n, v in first[0].items())


def test_a_compiled_network_sees_the_same(run_tiny: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """Traced and differentiated as ever; machine code, which takes a minute, has a test of fits."""
    monkeypatch.setattr(torch, "compile", functools.partial(torch.compile, backend="aot_eager"))
    store, eager = run_tiny("method=sr_ste", STRONG)
    other, compiled = run_tiny("method=sr_ste", STRONG, "runtime.compile=true", store="compiled")
    assert compiled == eager
    states = [load_network(*pair)[0] for pair in ((store, eager[-1]), (other, compiled[-1]))]
    assert all(torch.allclose(v, states[1][n], rtol=0, atol=1e-3) for n, v in states[0].items())


def test_clipping_bounds_the_pull_as_well(run_tiny: Run) -> None:
    """With a norm of next to nothing the weights stay where they were, whatever pulls at them."""
    still = ["train.clip_norm=1e-9", "train.optimizer.weight_decay=0"]
    store, tickets = run_tiny("method=sr_ste", "method.view.decay=10", *still)
    fit = store.description(tickets[-1])["inputs"][0]
    before, _ = load_network(store, store.description(fit)["inputs"][0])
    after, masks = load_network(store, fit)
    for name, mask in masks.items():
        assert torch.allclose(after[name][mask], before[name][mask], rtol=0, atol=1e-6)


def test_control_holds_the_masks_of_the_view_fixed(run_tiny: Run) -> None:
    store, tickets = run_tiny("method=sr_ste", "+control=reinitialise")
    masks = [load_network(store, key)[1] for key in tickets]
    assert len(tickets) == 2
    assert all(torch.equal(mask, masks[1][name]) for name, mask in masks[0].items())


def test_layers_that_do_not_divide_are_found_in_rehearsal(tiny: Tiny) -> None:
    asked = ["method=sr_ste", "model=resnet20", "data=digits"]
    with pytest.raises(ConfigError, match=r"has 1 inputs.*m=4.*prunable.exclude=\["):
        rehearse_all([tiny(*asked)])


def noted(function: Callable[[Any], str], note: Path, item: Any) -> str:
    """What `function` gives; the process that it was called in is written down."""
    note.write_text(str(os.getpid()))
    return function(item)


def test_workers_see_the_same(run_tiny: Run, tiny: Tiny, tmp_path: Path) -> None:
    """A fit that is alone in its cycle would be computed here, if the executor were asked."""
    inline, _ = run_tiny("method=sr_ste", STRONG)

    def in_a_worker(function: Callable[[Any], str], items: Sequence[Any]) -> list[str]:
        there = functools.partial(noted, function, tmp_path / "process")
        return executors._in_processes(there, items, [None])

    job = tiny("method=sr_ste", STRONG, store="worker")
    with warm.spawning_in_threads():
        run_prepared(dataclasses.replace(job, executor=in_a_worker), "test")
    assert int((tmp_path / "process").read_text()) != os.getpid()
    assert differences(inline, job.store) == []


def test_transposed_convolutions_group_their_inputs() -> None:
    """Their weight is stored input channels first; 2 of every 4 of these are seen."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.ConvTranspose2d(8, 6, 3))
    masks = {"0.weight": torch.ones_like(model[0].weight, dtype=torch.bool)}
    viewed = ViewedNetwork(model, StraightThrough(n=2, m=4, decay=0.1), masks, compiled=False)
    image = torch.randn(2, 8, 5, 5)
    seen = viewed(image)
    state, published = viewed.published()
    assert bool((published["0.weight"].view(2, 4, 6, 3, 3).sum(dim=1) == 2).all())
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    seen.sum().backward()
    weight = model[0].weight
    assert weight.grad is not None
    before = weight.grad.clone()
    viewed.pull_(optimizer)
    pulled = 0.1 * (~published["0.weight"] * weight.detach())
    assert torch.allclose(weight.grad - before, pulled, rtol=0, atol=1e-4)
    model.load_state_dict(state)
    assert torch.equal(model(image), seen)
