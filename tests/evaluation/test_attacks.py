"""Against values computed for the same linear network by independent code, and bounds."""

import pytest
import torch
from torch import Tensor

from sparsekit.evaluation.attacks import Box, fgsm, input_gradient, pgd, zero_gradients

WEIGHT = torch.tensor([[1.0, -2.0, 0.5], [-1.0, 1.0, 0.0]], dtype=torch.float64)
BIAS = torch.tensor([0.0, 0.1], dtype=torch.float64)
INPUT = torch.tensor([[0.6, 0.02, 0.99]], dtype=torch.float64)
LABEL = torch.tensor([0])
BOX = Box(*torch.tensor([0.1, 0.0, 1.0], dtype=torch.float64))


def linear(inputs: Tensor) -> Tensor:
    return inputs @ WEIGHT.T + BIAS


def test_one_step() -> None:
    gradient = input_gradient(linear, INPUT, LABEL)[0].tolist()
    assert gradient == pytest.approx([-0.354526607157, 0.531789910735, -0.0886316517891])
    found = fgsm(linear, INPUT, LABEL, BOX)
    assert found[0].tolist() == pytest.approx([0.5, 0.12, 0.89])
    assert linear(INPUT)[0].tolist() == pytest.approx([1.055, -0.48])
    assert linear(found)[0].tolist() == pytest.approx([0.705, -0.28])


@pytest.mark.parametrize(
    ("num_steps", "expected"),
    [
        (1, [0.56, 0.06, 0.95]),
        (2, [0.52, 0.1, 0.91]),
        (3, [0.5, 0.12, 0.89]),
        (4, [0.5, 0.12, 0.89]),
    ],
)
def test_several_steps_stay_within_the_radius(num_steps: int, expected: list[float]) -> None:
    found = pgd(linear, INPUT, LABEL, BOX, num_steps=num_steps, step=0.4)
    assert found[0].tolist() == pytest.approx(expected)


def test_beginnings_are_drawn_within_the_box() -> None:
    begin = INPUT.expand(200, 3)
    drawn = pgd(linear, begin, LABEL.expand(200), BOX, num_steps=0, generator=generator())
    assert (drawn - begin).abs().max() <= 0.1 + 1e-12
    assert drawn.min() >= 0
    assert drawn.max() <= 1
    assert drawn.std(0).min() > 0.02
    assert drawn.equal(
        pgd(linear, begin, LABEL.expand(200), BOX, num_steps=0, generator=generator())
    )


def test_pixels_that_were_normalised() -> None:
    mean, std = torch.tensor([0.49, 0.48, 0.45]), torch.tensor([0.247, 0.2435, 0.2616])
    box = Box.of_pixels(8 / 255, mean, std)
    assert box.radius.flatten().tolist() == pytest.approx([0.1270143685, 0.128840037, 0.1199256461])
    black = (torch.zeros(1, 3, 2, 2) - mean.reshape(1, 3, 1, 1)) / std.reshape(1, 3, 1, 1)
    torch.testing.assert_close(box.project(black - 1, black), black)


def test_a_radius_of_one_leaves_nothing_right() -> None:
    inputs = torch.rand(100, 3, generator=generator(), dtype=torch.float64)
    labels = linear(inputs).argmax(1)
    whole = Box(*torch.tensor([1.0, 0.0, 1.0], dtype=torch.float64))
    assert (linear(pgd(linear, inputs, labels, whole)).argmax(1) != labels).all()


def test_saturated_networks_are_told() -> None:
    assert zero_gradients(linear, INPUT, LABEL) == 0
    assert zero_gradients(lambda x: 1e4 * linear(x), INPUT, LABEL) == 1


def generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)
