"""What tasks whose outputs are logits share."""

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor


def mean_probabilities(outputs: Sequence[Any]) -> Tensor:
    """Return logits of one network; of several the logarithm of their mean probabilities.

    Classes are the last dimension.
    """
    logits: list[Tensor] = [one.float() for one in outputs]
    if len(logits) == 1:
        return logits[0]
    log_probabilities = torch.stack([one.log_softmax(-1) for one in logits])
    return log_probabilities.logsumexp(0) - math.log(len(logits))


def soften(logits: Any, temperature: float) -> Tensor:
    """Return logits / temperature, as distillation compares them (Hinton et al. 2015)."""
    softened: Tensor = logits / temperature
    return softened


def described(value: Any) -> str:
    """Say what a value is, for a message that refuses it.

    >>> described(torch.zeros(2, 3)), described((1, 2))
    ('torch.float32 [2, 3]', 'a tuple')
    """
    if isinstance(value, Tensor):
        return f"{value.dtype} {list(value.shape)}"
    return f"a {type(value).__name__}"


def check_floating(value: Any, what: str, shape: str, num_dimensions: int) -> None:
    """Raise ValueError unless `value` is one floating-point tensor of this rank.

    This is where a network that returns several things fails: only one can be the outputs.
    """
    fits = isinstance(value, Tensor) and value.ndim == num_dimensions and value.is_floating_point()
    if not fits:
        hint = "" if isinstance(value, Tensor) else "; wrap the network so that it returns one"
        raise ValueError(
            f"{what} must be one floating-point tensor {shape}, not {described(value)}{hint}"
        )


def check_num_outputs(found: int, num_outputs: int, *, of: str) -> None:
    """Raise ValueError unless the network has as many outputs as the data set asks for."""
    if found != num_outputs:
        raise ValueError(
            f"the network has {found} outputs, the data set has {num_outputs} {of}: they must be "
            "the same"
        )
