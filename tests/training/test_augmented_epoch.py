"""Averages get the statistics that a network gets in training: of augmented images."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from sparsekit.configuration.compose import CONFIGS
from sparsekit.data.digits import digits
from sparsekit.store.store import Store
from sparsekit.store.tensors import load_network
from sparsekit.training.evaluate import EVALUATION_BATCH, augmented_epoch, recalibrate_
from tests.conftest import short

SHIFT = 5.0
CPU = torch.device("cpu")


class Shifting:
    """Images [num_train, 1, 2, 2] of value i mod 7; augmentation adds SHIFT to them."""

    name, num_outputs = "shifting", 2

    def __init__(self, num_train: int) -> None:
        self.num_train = num_train
        self.sizes: list[int] = []

    def train_batches(
        self, *, batch_size: int, seed: int, epoch: int, **_: Any
    ) -> Iterator[tuple[Tensor, Tensor]]:
        assert (seed, epoch) == (0, 0), "always the same epoch"
        values = torch.arange(float(self.num_train)).remainder(7) + SHIFT
        images = values.view(-1, 1, 1, 1).expand(-1, 1, 2, 2)
        for batch in images[: self.num_train // batch_size * batch_size].split(batch_size):
            self.sizes.append(len(batch))
            yield batch, torch.zeros(len(batch), dtype=torch.long)


@pytest.mark.parametrize(
    ("num_train", "sizes"),
    [(7, [7]), (1000, [1000]), (1001, [500, 500]), (2500, [833, 833, 833]), (3000, [1000] * 3)],
)
def test_an_epoch_in_equal_batches_leaves_fewer_examples_than_it_has_batches(
    num_train: int, sizes: list[int]
) -> None:
    data: Any = Shifting(num_train)
    list(augmented_epoch(data, CPU))
    assert data.sizes == sizes
    assert max(sizes) <= EVALUATION_BATCH


def test_statistics_are_those_of_augmented_images() -> None:
    data: Any = Shifting(700)
    norm = nn.BatchNorm2d(1)
    recalibrate_(norm, augmented_epoch(data, CPU))
    assert norm.running_mean.item() == pytest.approx(3 + SHIFT)
    assert norm.running_var.item() == pytest.approx(4 * 2800 / 2799)


def black(images: Tensor, generator: torch.Generator) -> Tensor:
    """An augmentation that leaves nothing of the images."""
    return torch.zeros_like(images)


def normalised(input_shape: tuple[int, ...], num_outputs: int) -> nn.Module:
    """A network whose first layer normalises the images themselves."""
    return nn.Sequential(nn.BatchNorm2d(1), nn.Flatten(), nn.Linear(64, num_outputs))


@pytest.mark.parametrize(
    "asked",
    [
        ["method=swamp", "method.num_particles=1"],
        ["method=swamp", "method.num_particles=2"],
        ["method=soup"],
    ],
)
def test_weights_that_no_optimizer_made_get_statistics_of_augmented_images(
    asked: list[str], run_tiny: Callable[..., tuple[Store, list[str]]]
) -> None:
    """Black images, normalised by mean and std of the real ones, are all -mean / std."""
    here = "tests.training.test_augmented_epoch"
    store, tickets = run_tiny(
        *short(CONFIGS / "method" / f"{asked[0].removeprefix('method=')}.yaml"),
        *asked[1:],
        f"model._target_={here}.normalised",
        f"data.augment=[{{_target_: {here}.black}}]",
    )
    real = digits(Path())
    state, _ = load_network(store, tickets[-1])
    assert state["0.running_mean"].item() == pytest.approx(-real.mean[0] / real.std[0])
    assert state["0.running_var"].item() == pytest.approx(0, abs=1e-9)
