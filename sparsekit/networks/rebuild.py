"""Rebuilding a network with fewer channels: the recorded half of their removal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import Parameter
from torch.nn.modules.batchnorm import _NormBase
from torch.nn.modules.conv import _ConvNd

Group = Mapping[str, Any]
"""{"kept": indices of the channels that stay, "num_channels": of how many,
"tensors": [[name, dimension, entries per channel], ...]}"""


def keep_channels(model: nn.Module, *, groups: Sequence[Group], biases: Sequence[str]) -> nn.Module:
    """Return `model`, changed in place, with the channels of `groups` alone.

    `biases` name layers' biases that did not exist; they are added, at 0. ValueError for a tensor
    that has other sizes than when the channels were removed.
    """
    for name in biases:
        module, leaf = _owner(model, name)
        weight = module.weight
        assert isinstance(weight, Tensor)
        setattr(module, leaf, Parameter(weight.new_zeros(weight.shape[0])))
    for group in groups:
        for name, dim, repeat in group["tensors"]:
            module, leaf = _owner(model, name)
            _narrow_(module, leaf, _selected(name, getattr(module, leaf), group, dim, repeat))
    return model


def narrowed(tensors: Mapping[str, Tensor], groups: Sequence[Group]) -> dict[str, Tensor]:
    """Return tensors by name with the channels of `groups` alone; those without any as they are."""
    kept = dict(tensors)
    for group in groups:
        for name, dim, repeat in group["tensors"]:
            if name in kept:
                kept[name] = _selected(name, kept[name], group, dim, repeat)
    return kept


def _selected(name: str, tensor: Tensor, group: Group, dim: int, repeat: int) -> Tensor:
    if tensor.shape[dim] != group["num_channels"] * repeat:
        raise ValueError(
            f"{name} has {tensor.shape[dim]} entries, but {group['num_channels']} channels with "
            f"{repeat} entries each were recorded: this network is not the one that was transformed"
        )
    channels = torch.tensor(group["kept"], device=tensor.device)
    entries = channels[:, None] * repeat + torch.arange(repeat, device=tensor.device)
    return tensor.detach().index_select(dim, entries.flatten())


def _owner(model: nn.Module, name: str) -> tuple[nn.Module, str]:
    prefix, _, leaf = name.rpartition(".")
    return model.get_submodule(prefix), leaf


def _narrow_(module: nn.Module, leaf: str, tensor: Tensor) -> None:
    before = getattr(module, leaf)
    is_parameter = isinstance(before, Parameter)
    setattr(module, leaf, Parameter(tensor, before.requires_grad) if is_parameter else tensor)
    if isinstance(module, nn.Linear):
        module.out_features, module.in_features = module.weight.shape
    elif isinstance(module, _ConvNd):
        module.out_channels = module.weight.shape[0]
        if module.groups > 1:  # depthwise, for of no other grouped convolution is anything removed
            module.groups = module.out_channels
        module.in_channels = module.weight.shape[1] * module.groups
    elif isinstance(module, _NormBase) and leaf != "num_batches_tracked":
        module.num_features = len(tensor)
