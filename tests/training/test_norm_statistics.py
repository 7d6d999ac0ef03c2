"""Re-estimated statistics: of examples, whatever the batches."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
import torch
from torch import Tensor, nn

from sparsekit.training.evaluate import recalibrate_


def images(num: int = 1001) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randn(num, 3, 4, 4, generator=generator) * 2 + torch.arange(num).view(-1, 1, 1, 1)


def batches(values: Tensor, sizes: Sequence[int]) -> list[tuple[Tensor, None]]:
    return [(part, None) for part in values.split(list(sizes))]


@pytest.mark.parametrize("sizes", [[1001], [1000, 1], [500, 500, 1], [1, 1000], [257] * 3 + [230]])
def test_mean_and_unbiased_variance_of_all_images(sizes: list[int]) -> None:
    norm, values = nn.BatchNorm2d(3), images()
    recalibrate_(nn.Sequential(norm), batches(values, sizes))
    flat = values.double().transpose(0, 1).flatten(1)
    assert torch.allclose(norm.running_mean.double(), flat.mean(1), rtol=1e-6)
    assert torch.allclose(norm.running_var.double(), flat.var(1), rtol=1e-6)
    assert int(norm.num_batches_tracked) == len(sizes)
    assert norm.training, "the mode is given back"


def test_later_layers_see_the_network_in_evaluation_mode() -> None:
    """Of one batch they pool what the finished network makes of it."""
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Dropout(0.9), nn.ReLU(), nn.Conv2d(4, 2, 1)
    )
    model.append(nn.BatchNorm2d(2))
    values = images(64)
    recalibrate_(model, [(values, None)])
    model.eval()
    with torch.no_grad():
        hidden = model[:-1](values).transpose(0, 1).flatten(1)
    assert torch.allclose(model[-1].running_mean, hidden.mean(1), rtol=1e-4, atol=1e-5)
    assert torch.allclose(model[-1].running_var, hidden.var(1), rtol=1e-4)


def test_a_last_batch_of_one_example_is_no_error() -> None:
    model = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.BatchNorm1d(3))
    values = images(9)
    recalibrate_(model, batches(values, [8, 1]))
    assert torch.allclose(model[-1].running_var, values.mean((2, 3)).var(0), rtol=1e-5)
    with pytest.raises(ValueError, match="no variance"):
        recalibrate_(model, [(values[:1], None)])


def test_instance_norm_has_statistics_too() -> None:
    norm, values = nn.InstanceNorm2d(3, track_running_stats=True), images(10)
    recalibrate_(nn.Sequential(norm), batches(values, [9, 1]))
    assert torch.allclose(norm.running_mean, values.mean((0, 2, 3)), rtol=1e-5)
    assert torch.allclose(norm.running_var, values.flatten(2).var(2).mean(0), rtol=1e-5)


def test_layers_without_statistics_or_without_inputs_are_left_alone() -> None:
    class Part(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.unused = nn.BatchNorm2d(3)
            self.own = nn.BatchNorm2d(3, track_running_stats=False)

        def forward(self, values: Tensor) -> Tensor:
            return self.own(values)

    model = Part()
    model.unused.running_mean.fill_(7.0)
    recalibrate_(model, batches(images(8), [8]))
    assert bool((model.unused.running_mean == 7).all())
    assert model.own.running_mean is None
