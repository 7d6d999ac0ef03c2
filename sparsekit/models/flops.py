"""Floating-point operations of one image's forward pass, attributed to the weights behind them."""

import copy
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.modules.conv import _ConvNd, _ConvTransposeNd
from torch.utils.flop_counter import FlopCounterMode

from sparsekit.data.batches import Inputs, call


@dataclass(frozen=True)
class Flops:
    """Operations of the forward pass of one image; a multiplication and an addition count as two.

    per_weight: parameter name -> operations spent in that weight when it is dense. Weights of
        convolution, linear and attention layers; 0 for biases, norms and embeddings, so that the
        names of any mask can be looked up.
    other: operations that no weight causes, such as the products inside attention.
    """

    per_weight: dict[str, int]
    other: int

    def total(self, densities: Mapping[str, float]) -> float:
        """Operations when each weight keeps this fraction of its entries; absent names are dense.

        A weight's share is proportional to its density because every entry is used once at each
        output position. Raises ValueError for names that are not in `per_weight`.
        """
        if unknown := sorted(densities.keys() - self.per_weight.keys()):
            known = ", ".join(self.per_weight)
            raise ValueError(f"no such parameter: {', '.join(unknown)}; there are: {known}")
        shares = (densities.get(name, 1.0) * count for name, count in self.per_weight.items())
        return sum(shares) + self.other


def flops(model: nn.Module, example: Inputs | tuple[int, ...]) -> Flops:
    """Count the operations of one example, a batch of 1 or the shape of an image, through `model`.

    A weight costs 2 * numel * number of output positions: pixels of a convolution's output,
    tokens of a linear layer. The model is copied to the CPU, so its mode, its buffers and its
    device stay as they are.
    """
    twin = copy.deepcopy(model).cpu().float().eval()
    names = {id(parameter): name for name, parameter in twin.named_parameters()}
    per_weight = dict.fromkeys(names.values(), 0)

    def count(layer: nn.Module, inputs: tuple[Any, ...], named: dict[str, Any], out: Any) -> None:
        for weight, num_operations in _layer_flops(layer, inputs, named, out):
            per_weight[names[id(weight)]] += num_operations

    for layer in twin.modules():
        layer.register_forward_hook(count, with_kwargs=True)
    counter = FlopCounterMode(display=False)
    with torch.no_grad(), _plain_attention(), counter:
        call(twin, _as_inputs(example))
    other = counter.get_total_flops() - sum(per_weight.values())
    assert other >= 0, f"weights account for {-other} operations more than torch counted"
    return Flops(per_weight=per_weight, other=other)


def _as_inputs(example: Any) -> Inputs:
    is_shape = isinstance(example, tuple) and all(isinstance(size, int) for size in example)
    inputs: Inputs = torch.zeros(1, *example) if is_shape else example
    return inputs


def _layer_flops(
    layer: nn.Module, inputs: tuple[Any, ...], named: dict[str, Any], out: Any
) -> Iterator[tuple[Tensor, int]]:
    """(weight, operations) of one call of a layer on a batch of one image."""
    if isinstance(layer, _ConvTransposeNd):
        # A transposed convolution uses its kernel once per input pixel.
        yield layer.weight, 2 * layer.weight.numel() * (inputs[0].numel() // layer.in_channels)
    elif isinstance(layer, _ConvNd):
        yield layer.weight, 2 * layer.weight.numel() * (out.numel() // layer.out_channels)
    elif isinstance(layer, nn.Linear):
        yield layer.weight, 2 * layer.weight.numel() * (out.numel() // layer.out_features)
    elif isinstance(layer, nn.MultiheadAttention):
        yield from _attention_flops(layer, inputs, named)


def _attention_flops(
    layer: nn.MultiheadAttention, inputs: tuple[Any, ...], named: dict[str, Any]
) -> Iterator[tuple[Tensor, int]]:
    """(weight, operations) of the projections; the layer applies them without calling a module."""
    arguments = dict(zip(("query", "key", "value"), inputs, strict=False)) | named
    query, key, value = (_num_tokens(arguments[name]) for name in ("query", "key", "value"))
    if layer.in_proj_weight is not None:
        third = layer.in_proj_weight.numel() // 3
        yield layer.in_proj_weight, 2 * third * (query + key + value)
    else:
        yield layer.q_proj_weight, 2 * layer.q_proj_weight.numel() * query
        yield layer.k_proj_weight, 2 * layer.k_proj_weight.numel() * key
        yield layer.v_proj_weight, 2 * layer.v_proj_weight.numel() * value
    yield layer.out_proj.weight, 2 * layer.out_proj.weight.numel() * query


def _num_tokens(sequence: Tensor) -> int:
    """Tokens of one image in a tensor whose last dimension holds the features of one token."""
    return sequence.numel() // sequence.shape[-1]


@contextmanager
def _plain_attention() -> Iterator[None]:
    """Have attention run as matrix products, which torch counts; its fused kernels it does not."""
    before = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        with sdpa_kernel(SDPBackend.MATH):
            yield
    finally:
        torch.backends.mha.set_fastpath_enabled(before)
