"""Small changes of the input that raise the loss as much as they can: FGSM and PGD.

In white-box form, on networks in evaluation mode. A network whose softmax is saturated has
gradients of exactly 0 and looks robust without being so (Carlini et al. 2019): the share of zero
gradients is reported with every attack, and a radius of 1 must bring the accuracy to nothing.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

Network = Callable[[Tensor], Tensor]


@dataclasses.dataclass(frozen=True)
class Box:
    """What inputs may be: per channel the radius of the attack and the least and highest value.

    Tensors that broadcast with a batch of inputs, such as [1, C, 1, 1].
    """

    radius: Tensor
    low: Tensor
    high: Tensor

    @classmethod
    def of_pixels(cls, radius: float, mean: Tensor, std: Tensor) -> Box:
        """Return the box of inputs (pixel - mean) / std, for a radius in pixels from 0 to 1.

        `mean`, `std`: [C].
        """
        mean, std = (one.reshape(1, -1, 1, 1) for one in (mean, std))
        return cls(radius / std, (0 - mean) / std, (1 - mean) / std)

    def project(self, inputs: Tensor, centre: Tensor) -> Tensor:
        """Return the nearest point of the box, at most the radius away from `centre`."""
        near = inputs.clamp(centre - self.radius, centre + self.radius)
        return near.clamp(self.low, self.high)


def input_gradient(network: Network, inputs: Tensor, labels: Tensor) -> Tensor:
    """Return the gradient of each example's cross-entropy with respect to its input."""
    leaf = inputs.detach().requires_grad_()
    loss = cross_entropy(network(leaf), labels, reduction="sum")
    (gradient,) = torch.autograd.grad(loss, leaf)
    return gradient


def fgsm(network: Network, inputs: Tensor, labels: Tensor, box: Box) -> Tensor:
    """Return inputs moved by the radius along the signs of the gradient (Goodfellow et al. 2015).

    `inputs`: [B, ...], `labels`: int64 [B].
    """
    step = box.radius * input_gradient(network, inputs, labels).sign()
    return box.project(inputs + step, inputs)


def pgd(
    network: Network,
    inputs: Tensor,
    labels: Tensor,
    box: Box,
    *,
    num_steps: int = 20,
    step: float = 0.25,
    generator: torch.Generator | None = None,
) -> Tensor:
    """Return inputs after projected steps along the signs of the gradient (Madry et al. 2018).

    `step` is a share of the radius (2/255 of 8/255). `generator`: draws where each example begins
    within the radius; without one they begin where they are.
    """
    found = inputs
    if generator is not None:
        drawn = torch.rand(inputs.shape, generator=generator, dtype=inputs.dtype)
        found = box.project(inputs + box.radius * (2 * drawn.to(inputs.device) - 1), inputs)
    for _ in range(num_steps):
        gradient = input_gradient(network, found, labels)
        found = box.project(found + step * box.radius * gradient.sign(), inputs)
    return found.detach()


def zero_gradients(network: Network, inputs: Tensor, labels: Tensor) -> float:
    """Return the share of examples whose gradient is 0 everywhere: no attack can move them."""
    gradient = input_gradient(network, inputs, labels)
    return float((gradient.flatten(1) == 0).all(1).double().mean())
