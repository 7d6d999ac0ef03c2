"""One tensor under several names."""

import pytest
import torch
from torch import nn

from sparsekit.models.tied import load_state_, tied_names, under_every_name


def tied() -> nn.Sequential:
    model = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3), nn.BatchNorm1d(3), nn.BatchNorm1d(3))
    model[1].weight = model[0].weight
    model[3].running_mean = model[2].running_mean
    return model


def test_names_of_shared_weights_and_buffers():
    assert tied_names(tied()) == {
        "0.weight": ("0.weight", "1.weight"),
        "2.running_mean": ("2.running_mean", "3.running_mean"),
    }
    assert tied_names(nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3))) == {}


def test_a_layer_used_twice_has_the_names_of_both_places():
    layer = nn.Linear(3, 3)
    assert tied_names(nn.ModuleDict({"a": layer, "b": layer})) == {
        "a.weight": ("a.weight", "b.weight"),
        "a.bias": ("a.bias", "b.bias"),
    }


def test_the_first_name_wins_when_loading():
    model = tied()
    state = {name: value.clone() for name, value in model.state_dict().items()}
    state["0.weight"] = torch.zeros(3, 3)
    given = dict(state)
    load_state_(model, state)
    assert not model.state_dict()["1.weight"].any()
    assert state == given
    assert model[1].weight is model[0].weight


def test_loading_stays_strict():
    state = tied().state_dict()
    with pytest.raises(RuntimeError, match=r"Unexpected.*extra"):
        load_state_(tied(), {**state, "extra": torch.zeros(1)})
    del state["0.weight"]
    with pytest.raises(RuntimeError, match=r"Missing.*0\.weight"):
        load_state_(tied(), state)


def test_masks_under_every_name():
    mask = torch.eye(3, dtype=torch.bool)
    assert under_every_name(tied(), {"0.weight": mask}).keys() == {"0.weight", "1.weight"}
    assert under_every_name(tied(), {"1.bias": mask[0]}).keys() == {"1.bias"}


@pytest.mark.parametrize("slice_of", [lambda w: w.t(), lambda w: w[:2], lambda w: w.flatten()[1:5]])
def test_memory_shared_in_another_way_is_refused(slice_of):
    model = nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 3))
    model[1].weight = nn.Parameter(slice_of(model[0].weight.data))
    with pytest.raises(ValueError, match=r"[01]\.weight and [01]\.weight share memory"):
        tied_names(model)


def test_parts_of_one_buffer_that_do_not_overlap_are_separate():
    flat = torch.zeros(12)
    model = nn.Sequential(nn.Linear(2, 3), nn.Linear(3, 2))
    model[0].weight = nn.Parameter(flat[:6].view(3, 2))
    model[1].weight = nn.Parameter(flat[6:].view(2, 3))
    assert tied_names(model) == {}
