"""What a fit says it cost: its own steps, with the backward pass of its method."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

from sparsekit.networks.network import Network
from sparsekit.report.records import plain_rows
from sparsekit.store.store import Store
from sparsekit.training.cost import flops_of, flops_of_recalibration
from sparsekit.training.mask_history import MaskHistory

Run = Callable[..., tuple[Store, list[str]]]
BODY, HEAD = 64 * 64 + 64 * 64, 64 * 10
DENSE_STEP = 3 * 64 * 2 * (BODY + HEAD)
"""Three passes of 64 digits through the MLP of the tests."""


def cost_of(store: Store, tickets: list[str]) -> dict[str, Any]:
    (fit,) = store.description(tickets[-1])["inputs"]
    cost: dict[str, Any] = store.read(fit, "cost.json")
    return cost


def test_dense_gradients_of_rigl_are_paid_at_its_updates(run_tiny: Run) -> None:
    """Ten steps, masks move at 2, 4 and 6: three passes with dense gradients of the weights."""
    store, tickets = run_tiny("method=rigl", "method.mover.interval=2")
    (fit,) = store.description(tickets[-1])["inputs"]
    density = 1 - store.read(tickets[-1], "metrics.json")["sparsity_prunable"]
    cost = store.read(fit, "cost.json")
    assert cost["training_flops_dense"] == cost["training_flops_full"] == 10 * DENSE_STEP
    expected = DENSE_STEP * (10 * density + 3 * (1 - density) / 3)
    assert cost["training_flops"] == pytest.approx(expected, rel=1e-9)
    (row,) = plain_rows([store.root])
    assert row["training_flops"] == cost["training_flops"]
    assert row["training_flops_relative"] == pytest.approx(expected / (10 * DENSE_STEP), rel=1e-9)


def test_a_view_is_sparse_in_the_forward_pass_alone(run_tiny: Run) -> None:
    cost = cost_of(*run_tiny("method=ste"))
    assert cost["training_flops"] == pytest.approx(10 * DENSE_STEP * (0.5 + 1 + 1) / 3)


def test_frozen_layers_before_the_trained_ones_cost_a_forward_pass(run_tiny: Run) -> None:
    store, tickets = run_tiny("method=dense", "train.trainable=head", "prunable=not_head")
    cost = cost_of(store, tickets)
    assert cost["training_flops"] == 10 * 64 * 2 * (BODY + 3 * HEAD)
    assert cost["training_flops_full"] == 10 * DENSE_STEP


def test_probes_before_the_training_are_part_of_the_procedure(run_tiny: Run) -> None:
    """SNIP takes the gradient of one batch for every class, ten digits of each of ten."""
    store, tickets = run_tiny("method=snip", "method.prune.score.images_per_class=10")
    cost = cost_of(store, tickets)["training_flops"]
    (row,) = plain_rows([store.root])
    assert row["training_flops"] - cost == pytest.approx(100 * DENSE_STEP / 64)


def test_new_statistics_cost_a_forward_pass_under_the_masks() -> None:
    target = "sparsekit.models.cifar_resnet.cifar_resnet"
    model = {"_target_": target, "_partial_": True, "depth": 20, "width": 2}
    inputs = {"shape": [1, 3, 8, 8], "dtype": "float32"}
    network = Network(model=model, inputs=inputs, num_outputs=2, seed=0)
    built = network.build()
    work = flops_of(network)
    assert flops_of_recalibration(built, network, 10) == 10 * work.total({})
    for parameter in built.parameters():
        torch.nn.init.zeros_(parameter)
    assert flops_of_recalibration(built, network, 10) == 10 * work.other
    assert flops_of_recalibration(torch.nn.Linear(2, 2), network, 10) == 0


def test_masks_are_remembered_by_the_steps_at_which_layers_came_to_keep_others() -> None:
    half, quarter = torch.arange(4) < 2, torch.arange(4) < 1
    history = MaskHistory({"a": half})
    history.note({"a": half})
    for masks in (half.flip(0), quarter, quarter):
        history.count_step()
        history.note({"a": masks})
    assert history.changes == [(0, {"a": 2}), (2, {"a": 1})]
    state = history.state_dict()
    later = MaskHistory({"a": half})
    later.load_state_dict(state)
    later.note({"a": quarter})
    assert later.changes == history.changes


def test_a_checkpoint_of_an_earlier_release_does_not_know_what_was_kept_before() -> None:
    mask = torch.arange(4) < 2
    history = MaskHistory({"a": mask})
    history.count_step()
    old = {name: value for name, value in history.state_dict().items() if name != "changes"}
    later = MaskHistory({"a": mask})
    later.load_state_dict(old)
    later.note({"a": mask})
    assert later.changes == [(1, {"a": 2})], "no change at step 0, so its cost is not told"
