"""Neurons and fan-in of masks: literal tables, and plain data."""

import json

import torch

from sparsekit.core.structure import structure


def test_rows_are_neurons_and_ablated_ones_do_not_count_in_the_fan_in() -> None:
    masks = {
        "fc": torch.tensor([[1, 1, 0], [0, 0, 0], [0, 1, 0]]).bool(),
        "empty": torch.zeros(4, 2).bool(),
        "conv": torch.ones(2, 3, 2, 2).bool(),
    }
    masks["conv"][0, 0] = False
    found = structure(masks)
    assert found == {
        "fc": {"size": 9, "kept": 3, "active_neurons": 2, "neurons": 3, "fan_in": [1, 2]},
        "empty": {"size": 8, "kept": 0, "active_neurons": 0, "neurons": 4, "fan_in": [0, 0]},
        "conv": {"size": 24, "kept": 20, "active_neurons": 2, "neurons": 2, "fan_in": [8, 12]},
    }
    assert json.loads(json.dumps(found)) == found


def test_a_vector_has_one_weight_per_neuron() -> None:
    bias = structure({"bias": torch.tensor([True, False, True])})["bias"]
    assert bias == {
        "size": 3,
        "kept": 2,
        "active_neurons": 2,
        "neurons": 3,
        "fan_in": [1, 1],
    }
