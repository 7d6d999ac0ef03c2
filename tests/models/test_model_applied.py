"""Masks must be zeros in what a network multiplies with; what they cannot reach is said."""

import pytest
import timm
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils import parametrizations
from torch.nn.utils.prune import l1_unstructured

from sparsekit.models.applied import check_masks_apply, coverage
from sparsekit.models.examples import materialise_
from sparsekit.models.prunable import prunable
from sparsekit.models.torchvision_models import vit_b_16

IMAGE = (3, 8, 8)


class Standardised(nn.Conv2d):
    def forward(self, x: Tensor) -> Tensor:
        variance, mean = torch.var_mean(self.weight, dim=(1, 2, 3), keepdim=True)
        weight = (self.weight - mean) / (variance + 1e-5).sqrt()
        return F.conv2d(x, weight, self.bias, self.stride, self.padding)


class Adapted(nn.Linear):
    """A low-rank update is added to the weight."""

    def __init__(self) -> None:
        super().__init__(4, 4)
        self.up, self.down = nn.Parameter(torch.ones(4, 1)), nn.Parameter(torch.ones(1, 4))

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x, self.weight + self.up @ self.down, self.bias)


class Noisy(nn.Linear):
    """Changes its weight in place before every use."""

    def forward(self, x: Tensor) -> Tensor:
        self.weight.data.add_(0.1)
        return super().forward(x)


def dense(model: nn.Module) -> dict[str, Tensor]:
    shapes = {name: model.get_parameter(name).shape for name in prunable(model)}
    return {name: torch.ones(shape, dtype=torch.bool) for name, shape in shapes.items()}


@pytest.mark.parametrize(
    ("build", "example"),
    [
        (lambda: Standardised(3, 8, 3), IMAGE),
        (Adapted, torch.ones(1, 4)),
        (lambda: Noisy(4, 4), torch.ones(1, 4)),
        (lambda: parametrizations.orthogonal(nn.Linear(4, 4)), torch.ones(1, 4)),
    ],
)
@pytest.mark.parametrize("start_at_zero", [False, True])
def test_networks_that_compute_other_kernels_are_refused_with_the_way_out(
    build, example, start_at_zero
):
    model = nn.Sequential(build(), nn.Flatten(), nn.LazyLinear(5))
    materialise_(model, example)
    name, head = prunable(model)
    if start_at_zero:
        nn.init.zeros_(model.get_parameter(name))
    with pytest.raises(ValueError, match="has no effect") as caught:
        check_masks_apply(model, dense(model), example)
    assert f"prunable.exclude=[{name}]" in str(caught.value)
    check_masks_apply(model, {head: torch.ones(model[2].weight.shape, dtype=torch.bool)}, example)


@pytest.mark.parametrize(
    "change",
    [
        lambda layer: layer,
        parametrizations.spectral_norm,
        nn.utils.spectral_norm,
        lambda layer: l1_unstructured(layer, "weight", 0.5),
    ],
)
def test_kernels_that_keep_the_zeros_pass_and_the_model_stays_as_it_was(change):
    model = nn.Sequential(change(nn.Conv2d(3, 8, 3)), nn.Flatten(), nn.Linear(8 * 36, 5))
    before = {name: value.clone() for name, value in model.state_dict().items()}
    check_masks_apply(model, dense(model), IMAGE)
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())


@pytest.mark.parametrize("norm", [parametrizations.weight_norm, nn.utils.weight_norm])
@pytest.mark.parametrize("dim", [0, 1])
def test_weight_norm_is_refused_because_an_empty_row_is_no_number(norm, dim):
    model = nn.Sequential(norm(nn.Linear(4, 3), dim=dim), nn.Linear(3, 2))
    name, head = prunable(model)
    with pytest.raises(ValueError, match="NaN") as caught:
        check_masks_apply(model, dense(model), torch.ones(1, 4))
    assert f"prunable.exclude=[{name}]" in str(caught.value)
    assert head not in str(caught.value)


def test_where_no_mask_applies_the_message_says_that_nothing_is_prunable():
    model = parametrizations.weight_norm(nn.Linear(4, 3))
    with pytest.raises(ValueError, match="nothing is prunable"):
        check_masks_apply(model, dense(model), torch.ones(1, 4))


@pytest.mark.parametrize("kept", [(0, 0), (1, 2)])
def test_masks_that_keep_one_weight_pass_where_that_is_enough(kept):
    model = parametrizations.spectral_norm(nn.Linear(4, 3))
    (name,) = masks = {name: torch.zeros_like(mask) for name, mask in dense(model).items()}
    masks[name][kept] = True
    check_masks_apply(model, masks, torch.ones(1, 4))


def test_attention_recurrence_and_learnable_queries_pass():
    class Pool(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.query = nn.Parameter(torch.ones(1, 1, 8))
            self.project = nn.Linear(8, 8)
            self.rows = nn.LSTM(4, 8, batch_first=True)
            self.attention = nn.MultiheadAttention(8, 2, batch_first=True)

        def forward(self, x: Tensor) -> Tensor:
            tokens = self.rows(x)[0]
            return self.attention(self.project(self.query), tokens, tokens)[0]

    model = Pool()
    check_masks_apply(model, dense(model), torch.ones(1, 5, 4))


@pytest.mark.parametrize("name", ["resnetv2_50x1_bit", "nf_regnet_b0"])
def test_standardised_networks_of_timm_are_refused(name):
    model = timm.create_model(name, num_classes=10, in_chans=1)
    with pytest.raises(ValueError, match="has no effect") as caught:
        check_masks_apply(model, dense(model), (1, 32, 32))
    listed = str(caught.value).rpartition("prunable.exclude=[")[2].rstrip("]").split(",")
    left = prunable(model, exclude=listed)
    assert 0 < len(left) < len(listed)
    check_masks_apply(model, {name: dense(model)[name] for name in left}, (1, 32, 32))


def test_a_vision_transformer_passes():
    model = vit_b_16((3, 32, 32), 10)
    check_masks_apply(model, dense(model), (3, 32, 32))


def test_coverage_names_what_masks_do_not_reach():
    class Part(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.raw = nn.Parameter(torch.ones(4, 6))
            self.unused = nn.Linear(4, 4)
            self.head = nn.Linear(6, 2)
            self.centres = nn.Parameter(torch.ones(3, 2))

        def forward(self, x: Tensor) -> Tensor:
            return torch.cdist(self.head(x @ self.raw), self.centres)

    model = Part()
    found = coverage(model, prunable(model), torch.ones(1, 4))
    assert found.multiplied == {"raw": 24}
    assert found.idle == ("unused.weight",)
    assert found.unknown.keys() == {"centres"}
    assert (found.num_prunable, found.num_parameters) == (28, 24 + 20 + 14 + 6)
    text = "\n".join(found.lines())
    assert all(part in text for part in ("37.5%", "raw", "unused.weight", "centres"))


def test_coverage_has_nothing_to_say_where_masks_reach_everything():
    model = nn.Sequential(nn.Linear(4, 6), nn.LayerNorm(6), nn.Linear(6, 2))
    assert coverage(model, prunable(model), torch.ones(1, 4)).lines() == []
