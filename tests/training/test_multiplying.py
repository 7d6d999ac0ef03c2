"""Multiplying by bytes of masks: the bits of a product by floats, and no memory of its own."""

import math

import pytest
import torch
from torch import Tensor

from sparsekit.training import multiplying
from sparsekit.training.multiplying import multipliers, multiply_

WEIGHTS = {
    "a": torch.tensor([[-1.5, 2.0, -0.0], [math.inf, -math.inf, math.nan]]),
    "b": torch.linspace(-1, 1, 72).view(4, 2, 3, 3),
}
MASKS = {"a": torch.tensor([[True, False, True], [False, True, False]]), "b": WEIGHTS["b"] > 0.1}


@pytest.fixture(autouse=True)
def _not_few(monkeypatch) -> None:
    monkeypatch.setattr(multiplying, "_FEW", 0)


def bits(tensor: Tensor) -> Tensor:
    return tensor.contiguous().view(torch.int32)


def by_masks(weights: dict[str, Tensor]) -> list[Tensor]:
    return multipliers(list(weights.values()), list(MASKS.values()))


def laid_out(format: torch.memory_format) -> dict[str, Tensor]:
    """Copies of the weights; those of the convolution in this layout."""
    return {"a": WEIGHTS["a"].clone(), "b": WEIGHTS["b"].clone(memory_format=format)}


@pytest.mark.parametrize("format", [torch.contiguous_format, torch.channels_last], ids=str)
@pytest.mark.parametrize("threads", [1, 4])
def test_bits_are_those_of_a_product_by_floats(format, threads: int, monkeypatch) -> None:
    monkeypatch.setattr(multiplying.torch, "get_num_threads", lambda: threads)
    monkeypatch.setattr(multiplying, "_LARGE", 10)
    weights = laid_out(format)
    multiply_(list(weights.values()), by_masks(weights))
    for name, weight in weights.items():
        assert torch.equal(bits(weight), bits(WEIGHTS[name] * MASKS[name].float())), name


def test_bytes_are_those_of_the_masks() -> None:
    shared = by_masks(laid_out(torch.contiguous_format))
    assert [one.data_ptr() for one in shared] == [mask.data_ptr() for mask in MASKS.values()]
    other = by_masks(laid_out(torch.channels_last))[1]
    assert (other.dtype, other.stride()) == (torch.uint8, (18, 1, 6, 2))


def test_few_weights_and_other_dtypes_are_multiplied_by_copies(monkeypatch) -> None:
    halves = {name: weight.bfloat16() for name, weight in WEIGHTS.items()}
    assert {one.dtype for one in by_masks(halves)} == {torch.bfloat16}
    monkeypatch.setattr(multiplying, "_FEW", 79)
    copies = by_masks(WEIGHTS)
    assert {one.dtype for one in copies} == {torch.float32}
    weights = laid_out(torch.contiguous_format)
    multiply_(list(weights.values()), copies)
    assert torch.equal(bits(weights["b"]), bits(WEIGHTS["b"] * MASKS["b"].float()))
