"""What constant channels add to the layer behind them."""

import json
from pathlib import Path

import pytest
import torch
from torch.nn import functional as F

from sparsekit.core.folding import after_layer, after_norm, contribution, reaches

VECTORS = json.loads((Path(__file__).parent / "vectors" / "equal_outputs.json").read_text())


def tensor(name: str) -> torch.Tensor:
    return torch.tensor(VECTORS[name], dtype=torch.float64)


def test_a_neuron_without_weights_goes_into_the_next_bias() -> None:
    hidden, removed = tensor("b1").relu(), VECTORS["removed_unit"]
    constants = torch.full_like(hidden, torch.nan)
    constants[removed] = hidden[removed]
    folded = tensor("b2") + contribution(tensor("W2"), constants)
    torch.testing.assert_close(folded, tensor("folded_b2"))
    others = [unit for unit in range(4) if unit != removed]
    kept = (tensor("x") @ tensor("W1")[others].T + tensor("b1")[others]).relu()
    assert_equal = torch.testing.assert_close
    assert_equal(kept @ tensor("W2")[:, others].T + folded, tensor("outputs"))
    without = kept @ tensor("W2")[:, others].T + tensor("b2")
    assert_equal(without, tensor("outputs_without_folding"))


def test_the_border_of_a_padded_convolution_sees_fewer_taps() -> None:
    expected = torch.tensor(VECTORS["padded_convolution"]["contribution"])
    weight = torch.ones(1, 1, 3, 3)
    added = F.conv2d(torch.ones(1, 1, 4, 4), weight, padding=1)[0, 0]
    assert added.equal(expected)
    assert contribution(weight, torch.ones(1)).item() == expected.max()


def test_contributions_count_taps_and_repeated_inputs() -> None:
    weight = torch.arange(12.0).reshape(1, 3, 2, 2)
    constants = torch.tensor([1.0, torch.nan, -2.0])
    assert contribution(weight, constants).tolist() == [6.0 - 2 * 38.0]
    flat = torch.arange(6.0).reshape(1, 6)
    assert contribution(flat, constants, repeat=2).tolist() == [1.0 - 2 * 9.0]
    assert reaches(torch.tensor([[0.0, 0.0, 1.0, -1.0]]), repeat=2).tolist() == [[False, True]]


def test_an_output_is_constant_only_if_every_input_it_uses_is() -> None:
    weight = torch.tensor([[1.0, 0.0], [0.0, 2.0], [0.0, 0.0]])
    constants = torch.tensor([torch.nan, 3.0])
    found = after_layer(weight, torch.tensor([1.0, 1.0, 1.0]), constants, constants.isfinite())
    assert found[1:].tolist() == [7.0, 1.0]
    assert found[0].isnan()


@pytest.mark.parametrize("gain", [2.0, 0.0])
def test_behind_a_normalisation(gain: float) -> None:
    norm = torch.nn.BatchNorm1d(1).double().eval()
    state = {"weight": [gain], "bias": [0.3], "running_mean": [0.5], "running_var": [1.7]}
    norm.load_state_dict(
        {n: torch.tensor(v, dtype=torch.float64) for n, v in state.items()}, strict=False
    )
    found = after_norm(
        torch.tensor([0.9], dtype=torch.float64),
        norm.running_mean, norm.running_var, norm.weight, norm.bias, norm.eps,
    )  # fmt: skip
    torch.testing.assert_close(found, norm(torch.tensor([[0.9]], dtype=torch.float64))[0])
    unknown = torch.tensor([torch.nan], dtype=torch.float64)
    behind = after_norm(
        unknown, norm.running_mean, norm.running_var, norm.weight, norm.bias, norm.eps
    )
    assert behind.isnan().item() == (gain != 0)
