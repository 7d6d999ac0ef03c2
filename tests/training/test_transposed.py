"""A network with transposed convolutions: rows are outputs from the first mask to the report."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor, nn

from sparsekit.store.store import Store
from sparsekit.store.tensors import load_network

Run = Callable[..., tuple[Store, list[str]]]


class Upsampling(nn.Module):
    """Two convolutions down, one up in two groups, and a classifier."""

    def __init__(self, channels: int, num_outputs: int) -> None:
        super().__init__()
        self.down = nn.Conv2d(channels, 16, 3, stride=2, padding=1)
        self.up = nn.ConvTranspose2d(16, 24, 4, stride=2, padding=1, groups=2)
        self.head = nn.Linear(24, num_outputs)

    def forward(self, images: Tensor) -> Tensor:
        maps = self.up(self.down(images).relu()).relu()
        return self.head(maps.mean(dim=(2, 3)))


def upsampling(input_shape: tuple[int, ...], num_outputs: int) -> nn.Module:
    return Upsampling(input_shape[0], num_outputs)


def fan_in(mask: Tensor) -> list[int]:
    """Weights of each of 24 outputs: 16 inputs in two groups, each for 12 outputs."""
    first, second = mask.split(8)
    return [*first.sum(dim=(0, 2, 3)).tolist(), *second.sum(dim=(0, 2, 3)).tolist()]


def test_srigl_moves_weights_of_outputs_with_equal_fan_in(run_tiny: Run) -> None:
    store, tickets = run_tiny(
        "method=srigl",
        "method.mover.interval=2",
        "method.mover.rule.gamma_sal=0",
        "model._target_=tests.training.test_transposed.upsampling",
    )
    _, masks = load_network(store, tickets[-1])
    fit = store.description(tickets[-1])["inputs"][0]
    _, before = load_network(store, store.description(fit)["inputs"][0])
    name = "up.weight"
    assert masks[name].shape == (16, 12, 4, 4)
    assert (masks[name] != before[name]).any()
    layer = store.read(tickets[-1], "metrics.json")["layers"][name]
    for found in (masks[name], before[name]):
        reached = fan_in(found)
        assert len(reached) == 24
        assert layer["fan_in"] == [min(reached), max(reached)] == [reached[0]] * 2
    assert (layer["neurons"], layer["active_neurons"]) == (24, 24)
    history = store.read(fit, "history.json")[-1]
    assert history[f"active_neurons/{name}"] == 24


def test_a_shuffled_mask_keeps_the_fan_in_of_outputs(run_tiny: Run) -> None:
    store, tickets = run_tiny(
        "method=random",
        "prune@method.prune=random_erk_constant_fan_in",
        "+control=shuffle_layers",
        "method.control.pattern={_target_:sparsekit.core.patterns.constant_fan_in}",
        "model._target_=tests.training.test_transposed.upsampling",
    )
    _, masks = load_network(store, tickets[-1])
    assert len(set(fan_in(masks["up.weight"]))) == 1
