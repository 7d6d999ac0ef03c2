"""Initialisation shared by the networks of this room; torchvision and timm keep their own."""

from typing import Literal

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm


def kaiming_normal_(model: nn.Module, *, mode: Literal["fan_in", "fan_out"] = "fan_in") -> None:
    """Draw convolution and linear weights from N(0, 2 / fan), in place; biases 0, norms 1 and 0.

    He et al. 2015 (arXiv 1502.01852), eq. 10 (`fan_in`) and eq. 14 (`fan_out`). Linear layers
    always use `fan_in`: a classifier's fan-out is its number of classes, which says nothing about
    the size of its outputs. Draws from torch's global generator, as constructors of layers do.
    """
    for layer in model.modules():
        if isinstance(layer, nn.Conv2d):
            nn.init.kaiming_normal_(layer.weight, mode=mode, nonlinearity="relu")
        elif isinstance(layer, nn.Linear):
            nn.init.kaiming_normal_(layer.weight, mode="fan_in", nonlinearity="relu")
        elif isinstance(layer, _BatchNorm) and layer.affine:
            nn.init.ones_(layer.weight)
        zero_bias_(layer)


def glorot_normal_(model: nn.Module) -> None:
    """Draw convolution and linear weights from N(0, 2 / (fan_in + fan_out)), in place; biases 0.

    Glorot and Bengio 2010, in the Gaussian form of the LeNet experiments of Frankle and Carbin
    2019 (arXiv 1803.03635).
    """
    for layer in model.modules():
        if isinstance(layer, (nn.Conv2d, nn.Linear)):
            nn.init.xavier_normal_(layer.weight)
        zero_bias_(layer)


def zero_bias_(layer: nn.Module) -> None:
    """Set the bias of one convolution, linear or BatchNorm layer to 0, in place, if it has one."""
    if isinstance(layer, (nn.Conv2d, nn.Linear, _BatchNorm)) and layer.bias is not None:
        nn.init.zeros_(layer.bias)
