"""What a network has to move and to multiply at least, dense and with its kept weights alone."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn

from sparsekit.bench.ways import OURS, Subject
from sparsekit.core.types import Masks
from sparsekit.data.batches import call, num_examples, part, tensors_of
from sparsekit.inference.rows import NARROW
from sparsekit.measuring.limits import Work
from sparsekit.models.examples import tensors_in
from sparsekit.models.flops import flops

Bytes = Callable[[Tensor], float]


def work_of(subject: Subject) -> dict[str, Work]:
    """Return the work of the dense network, of CSR and of ours, for the whole batch.

    Bytes are those of weights, inputs and outputs, each moved once. What passes from layer to layer
    may stay in a cache, so it is not counted. Indices of ours have 16 bits where they fit.
    """
    with torch.no_grad():
        outputs = tensors_in(call(subject.dense, subject.inputs))
    passed = sum(tensor.nbytes for tensor in (*tensors_of(subject.inputs), *outputs))
    products = _products(subject, subject.model, subject.masks)
    ours = _ours(subject.dtype.itemsize)
    return {
        "dense": Work(
            passed + _stored(subject.dense, {}, _csr), _products(subject, subject.dense, {})
        ),
        "csr": Work(passed + _stored(subject.model, subject.masks, _csr), products),
        OURS: Work(passed + _stored(subject.model, subject.masks, ours), products),
    }


def work_for(way: str, work: Mapping[str, Work]) -> Work:
    """Return the work of a way: that of the dense network unless it has its own."""
    return work.get(way, work["dense"])


def _products(subject: Subject, model: nn.Module, masks: Masks) -> float:
    counted = flops(model, part(subject.inputs, 0, 1))
    densities = {
        name: int(mask.sum()) / mask.numel()
        for name, mask in masks.items()
        if name in counted.per_weight
    }
    return num_examples(subject.inputs) * counted.total(densities) / 2


def _stored(model: nn.Module, masks: Masks, masked: Bytes) -> float:
    """Return the bytes of all parameters and buffers, each once."""
    parameters = sum(
        masked(masks[name]) if name in masks else tensor.nbytes
        for name, tensor in model.named_parameters()
    )
    return parameters + sum(tensor.nbytes for tensor in model.buffers())


def _csr(mask: Tensor) -> float:
    return 8.0 * float(mask.sum()) + 4 * len(mask)


def _ours(value_bytes: int) -> Bytes:
    def masked(mask: Tensor) -> float:
        index_bytes = 2 if mask[0].numel() <= NARROW else 4
        return (value_bytes + index_bytes) * float(mask.sum()) + 4 * len(mask)

    return masked
