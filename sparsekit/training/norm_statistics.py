"""Statistics of normalisation layers over all examples, however they are cut into batches."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.instancenorm import _InstanceNorm

Norm = _BatchNorm | _InstanceNorm


def tracked_norms(model: nn.Module) -> list[Norm]:
    """Find the layers that normalise by stored statistics in evaluation mode."""
    norms = [module for module in model.modules() if isinstance(module, Norm)]
    return [norm for norm in norms if norm.track_running_stats]


@contextmanager
def pooling_(norms: Sequence[Norm]) -> Iterator[None]:
    """Replace the statistics of `norms` by those of what passes them, in evaluation mode.

    Mean and unbiased variance over all values of a channel that have come so far, from all batches
    together: m = sum(n_b m_b) / n and (n - 1) v = sum(n_b v_b) + sum(n_b (m_b - m)^2), v_b with
    divisor n_b, summed up pairwise (Chan, Golub & LeVeque 1983) in float64. InstanceNorm: the means
    over instances of their means and of their unbiased variances.

    Each layer normalises by what it has pooled so far, so that later batches pass the very network
    that is left in the end. A batch weighs as many examples as it has; one of a single example is
    no exception. A layer that nothing passes keeps its statistics. ValueError for one that saw a
    single value per channel in all, which has no variance.
    """
    pools = [Pool(norm) for norm in norms]
    with ExitStack() as stack:
        for pool in pools:
            hook = pool.norm.register_forward_pre_hook(pool.take)
            stack.callback(hook.remove)
        yield
    for pool in pools:
        if pool.count == 1 and isinstance(pool.norm, _BatchNorm):
            raise ValueError(
                f"{pool.norm} saw one value per channel, which has no variance; its statistics "
                "need two examples or more"
            )


class Pool:
    """What one layer has seen: how many values per channel, their mean and spread."""

    def __init__(self, norm: Norm) -> None:
        self.norm = norm
        self.count = 0
        self.num_batches = 0
        assert norm.running_mean is not None
        device = norm.running_mean.device
        dtype = torch.float32 if device.type == "mps" else torch.float64
        self.mean = torch.zeros_like(norm.running_mean, dtype=dtype)
        self.spread = torch.zeros_like(self.mean)

    def take(self, norm: nn.Module, inputs: tuple[Any, ...]) -> None:
        """Add a batch [N, C, ...] on its way into the layer."""
        values: Tensor = inputs[0].detach().float()
        if isinstance(norm, _InstanceNorm):
            variances, means = torch.var_mean(values, list(range(2, values.ndim)), correction=1)
            self._add(len(values), means.to(self.mean).mean(0))
            self.spread += variances.to(self.spread).sum(0)
            variance = self.spread / self.count
        else:
            dims = [0, *range(2, values.ndim)]
            within, mean = torch.var_mean(values, dims, correction=0)
            num = values.numel() // values.shape[1]
            before, delta = self.count, mean.to(self.mean) - self.mean
            self._add(num, mean.to(self.mean))
            self.spread += within.to(self.spread) * num + delta**2 * (before * num / self.count)
            variance = self.spread / max(self.count - 1, 1)
        self._store(variance)

    def _add(self, num: int, mean: Tensor) -> None:
        self.count += num
        self.mean += (mean - self.mean) * (num / self.count)

    def _store(self, variance: Tensor) -> None:
        self.num_batches += 1
        assert self.norm.running_mean is not None
        assert self.norm.running_var is not None
        assert self.norm.num_batches_tracked is not None
        self.norm.running_mean.copy_(self.mean)
        self.norm.running_var.copy_(variance)
        self.norm.num_batches_tracked.fill_(self.num_batches)
