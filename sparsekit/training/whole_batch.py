"""BatchNorm over the whole batch of a step, of which each of several devices has a part."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
import torch.distributed
from torch import Tensor, nn
from torch.nn.functional import batch_norm
from torch.nn.modules.batchnorm import _BatchNorm
from torch.overrides import TorchFunctionMode


class WholeBatch(TorchFunctionMode):
    """Within it, batch_norm in training mode normalises by the statistics of all ranks.

    The function is replaced and not the layers: that serves subclasses with a forward pass of their
    own (timm's BatchNormAct2d) and bare calls, on any device; `torch.nn.SyncBatchNorm` serves
    neither, nor the CPU. All ranks must run the same layers in a step.
    """

    def __torch_function__(
        self, func: Any, types: Iterable[type], args: Any = (), kwargs: Any = None
    ) -> Any:
        if func is batch_norm:
            return _batch_norm(*args, **(kwargs or {}))
        return func(*args, **(kwargs or {}))


def _batch_norm(
    input: Tensor,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Tensor:
    """Compute `torch.nn.functional.batch_norm`, over all ranks if `training`."""
    if not training:
        return batch_norm(input, running_mean, running_var, weight, bias, training, momentum, eps)
    values = input.float()
    dims = [0, *range(2, input.ndim)]
    shape = [1, -1, *[1] * (input.ndim - 2)]
    count = values.new_tensor([input.numel() // input.shape[1]])
    sums = _sum_of_ranks(torch.cat([values.sum(dims), count]))
    mean, num = sums[:-1] / sums[-1], sums[-1]
    # In a second pass, so that the variance is not a difference of large numbers.
    centred = values - mean.view(shape)
    variance = _sum_of_ranks(centred.square().sum(dims)) / num
    if running_mean is not None and running_var is not None:
        with torch.no_grad():
            running_mean.lerp_(mean.to(running_mean), momentum)
            unbiased = variance * (num / (num - 1).clamp(min=1))
            running_var.lerp_(unbiased.to(running_var), momentum)
    normalised = centred * (variance + eps).rsqrt().view(shape)
    if weight is not None:
        normalised = normalised * weight.view(shape)
    if bias is not None:
        normalised = normalised + bias.view(shape)
    return normalised.to(input.dtype)


class SumOfRanks(torch.autograd.Function):
    """The sum of a tensor over all ranks; its gradient is summed over them as well."""

    @staticmethod
    def forward(ctx: Any, values: Tensor) -> Tensor:
        return _reduced(values)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        return _reduced(gradient)


def _reduced(values: Tensor) -> Tensor:
    summed = values.contiguous().clone()
    torch.distributed.all_reduce(summed)
    return summed


def _sum_of_ranks(values: Tensor) -> Tensor:
    summed: Tensor = SumOfRanks.apply(values)
    return summed


def has_batch_norm(model: nn.Module) -> bool:
    """Say whether examples of one batch see each other in `model`."""
    return any(isinstance(module, _BatchNorm) for module in model.modules())


def check_pieces(model: nn.Module, *, accumulate: int, num_devices: int) -> None:
    """Raise ValueError if BatchNorm would see other examples together than on one device.

    Each of `accumulate` pieces of a batch is normalised for itself; with the batch cut into the
    parts of the devices first, a piece holds other examples.
    """
    if num_devices > 1 and accumulate > 1 and has_batch_norm(model):
        raise ValueError(
            f"train.accumulate={accumulate} on {num_devices} devices: BatchNorm would see other "
            "examples together than on one; use train.accumulate=1, or one device"
        )
