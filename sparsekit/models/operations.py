"""What PyTorch's operations multiply, and what that costs."""

import functools
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from sparsekit.models.examples import tensors_in

aten = torch.ops.aten
RECURRENT = {aten.mkldnn_rnn_layer, aten._cudnn_rnn, aten.miopen_rnn}
VECTOR = {aten.mv: (0, 1), aten.addmv: (1, 2), aten.dot: (0, 1)}
FACTORS = {aten.addmm: (1, 2), aten.baddbmm: (1, 2), **VECTOR}
# Pointwise operations whose matrix may do the work of a multiplication by it: (x * W).sum(-1).
SCALING = {aten.mul, aten.mul_, aten.addcmul}
# Operations in which a matrix is read, added or gathered, but not multiplied with the input.
READING = {
    aten.cat, aten.stack, aten.embedding, aten._embedding_bag, aten._embedding_bag_forward_only,
    aten.index, aten.index_select, aten.index_put, aten.index_put_, aten._index_put_impl_,
    aten.gather, aten.scatter, aten.scatter_, aten.copy_, aten.masked_fill, aten.masked_scatter,
    aten.native_layer_norm, aten._fused_rms_norm, aten.native_group_norm, aten.slice_scatter,
    aten.select_scatter, aten.constant_pad_nd, aten.topk, aten.max, aten.min,
}  # fmt: skip


@functools.cache
def costs() -> Mapping[Any, Callable[..., int]]:
    """Return what PyTorch's multiplications cost, by operation; importing it imports Triton."""
    from torch.utils.flop_counter import flop_registry

    return flop_registry


def factors_of(packet: Any, args: tuple[Any, ...], *, depends: bool) -> list[Tensor]:
    """Return the tensors an operation multiplies with each other; none if it multiplies none.

    Products of constants with vectors are not counted: they are norms, such as spectral norm's.
    """
    if packet in RECURRENT:
        given = tensors_in(args[1:3] if packet is aten.mkldnn_rnn_layer else args[1])
        return [tensor for tensor in given if tensor.dim() == 2]
    if packet in costs() or (packet in VECTOR and depends):
        first, second = FACTORS.get(packet, (0, 1))
        return [args[first], args[second]]
    return []


def cost_of(
    packet: Any, args: tuple[Any, ...], named: Mapping[str, Any], out: Any
) -> Callable[[Tensor], int]:
    """Return how many operations a multiplication costs, for each of its factors."""
    if packet in RECURRENT:
        num_tokens = args[0].numel() // args[0].shape[-1]
        return lambda weight: 2 * weight.numel() * num_tokens
    if packet in VECTOR:
        return lambda _: 2 * max(args[position].numel() for position in VECTOR[packet])
    total = costs()[packet](*args, **named, out_val=out)
    return lambda _: total


def only_reads(operation: Any) -> bool:
    """Say whether a matrix in this operation costs no more than being read: no multiplication."""
    if operation.overloadpacket in READING or operation.is_view:
        return True
    return torch.Tag.pointwise in operation.tags and operation.overloadpacket not in SCALING
