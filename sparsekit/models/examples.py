"""Running a network once on an example, without leaving a trace in it."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.parameter import is_lazy
from torch.utils._pytree import tree_leaves

from sparsekit.data.batches import Inputs, call, map_tensors

Example = Inputs | tuple[int, ...]
"""Inputs of a network, a batch of one; or the shape of an image, which means an image of zeros."""


def run_example(model: nn.Module, example: Example) -> Any:
    """Return the outputs of `model` for `example`, in evaluation mode, on the model's device.

    Floating-point inputs are converted to the type of the model's parameters. Attention runs as
    matrix products, so that what watches the operations sees them. Mode, weights, buffers and
    attributes of the model and the random generators are afterwards what they were. The model is
    not copied: layers that compute their weight cannot be.
    """
    inputs = inputs_of(model, example)
    with unchanged(model), torch.no_grad(), _plain_attention():
        model.eval()
        return call(model, inputs)


def require_shapes(model: nn.Module) -> None:
    """Raise ValueError for a model with layers such as nn.LazyLinear that never ran."""
    for name, tensor in _tensors(model).items():
        if is_lazy(tensor):
            raise ValueError(f"{name} has no shape yet; call materialise_(model, example) first")


def materialise_(model: nn.Module, example: Example) -> None:
    """Give layers such as nn.LazyLinear their shapes and initial weights, in place.

    Runs the example through models that have such layers and does nothing to others. What the
    layers draw, they draw from torch's global generator, as constructors do.
    """
    if not any(is_lazy(tensor) for tensor in _tensors(model).values()):
        return
    modes = {module: module.training for module in model.modules()}
    with torch.no_grad():
        model.eval()
        call(model, inputs_of(model, example))
    for module, training in modes.items():
        module.training = training


def inputs_of(model: nn.Module, example: Example) -> Inputs:
    """Return `example` on the device of `model`, its floating-point tensors in the model's type."""
    is_shape = isinstance(example, tuple) and all(isinstance(size, int) for size in example)
    inputs: Any = torch.zeros(1, *example) if is_shape else example
    known = [tensor for tensor in _tensors(model).values() if tensor.is_floating_point()]
    if not known:
        return inputs
    like = known[0]
    return map_tensors(
        inputs, lambda one: one.to(like.device, like.dtype if one.is_floating_point() else None)
    )


def tensors_in(value: Any) -> list[Tensor]:
    """Return the tensors in nested tuples, lists, dicts and registered dataclasses."""
    return [leaf for leaf in tree_leaves(value) if isinstance(leaf, Tensor)]


@contextmanager
def unchanged(model: nn.Module) -> Iterator[None]:
    """Restore at the end what a forward pass may have changed, and the random generators.

    That is modes, values of parameters and buffers, and which objects attributes are bound to.
    """
    values = [(tensor, tensor.detach().clone()) for tensor in _tensors(model).values()]
    bound = [(module, _attributes(module)) for module in model.modules()]
    devices = {tensor.device for tensor, _ in values if tensor.is_cuda}
    try:
        with torch.random.fork_rng(devices=list(devices)):
            yield
    finally:
        for module, attributes in bound:
            _rebind_(module, attributes)
        with torch.no_grad():
            for tensor, value in values:
                tensor.copy_(value)


def _attributes(module: nn.Module) -> dict[str, Any]:
    # The dicts of parameters, buffers and submodules are copied: their entries may be rebound.
    return {
        name: dict(value) if type(value) is dict else value for name, value in vars(module).items()
    }


def _rebind_(module: nn.Module, attributes: Mapping[str, Any]) -> None:
    current = vars(module)
    for name in current.keys() - attributes.keys():
        del current[name]
    for name, value in attributes.items():
        if type(value) is dict and type(current.get(name)) is dict:
            current[name].clear()
            current[name].update(value)
        else:
            current[name] = value


def _tensors(model: nn.Module) -> dict[str, Tensor]:
    return {**dict(model.named_parameters()), **dict(model.named_buffers())}


@contextmanager
def _plain_attention() -> Iterator[None]:
    """Have attention run as matrix products; its fused kernels hide what they multiply."""
    before = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        with sdpa_kernel(SDPBackend.MATH):
            yield
    finally:
        torch.backends.mha.set_fastpath_enabled(before)
