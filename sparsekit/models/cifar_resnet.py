"""The CIFAR ResNets of He et al. 2016 (arXiv 1512.03385, section 4.2): ResNet-20, 32, 56, 110."""

from typing import Literal

import torch.nn.functional as F
from torch import Tensor, nn

from sparsekit.models.initialise import kaiming_normal_
from sparsekit.models.shapes import InputShape, image_shape

Shortcut = Literal["projection", "padding"]


class PaddingShortcut(nn.Module):
    """Shortcut without parameters (option A): every second pixel, new channels filled with 0."""

    def __init__(self, num_new_channels: int) -> None:
        super().__init__()
        self.num_new_channels = num_new_channels

    def forward(self, images: Tensor) -> Tensor:
        """Map [batch, C, H, W] to [batch, C + num_new_channels, ceil(H / 2), ceil(W / 2)]."""
        before = self.num_new_channels // 2
        after = self.num_new_channels - before
        return F.pad(images[:, :, ::2, ::2], (0, 0, 0, 0, before, after))


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions with BatchNorm, and a shortcut around them that may be the identity."""

    def __init__(self, num_inputs: int, num_outputs: int, *, stride: int, shortcut: nn.Module):
        super().__init__()
        self.conv1 = nn.Conv2d(num_inputs, num_outputs, 3, stride=stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(num_outputs)
        self.conv2 = nn.Conv2d(num_outputs, num_outputs, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(num_outputs)
        self.shortcut = shortcut

    def forward(self, images: Tensor) -> Tensor:
        """Map [batch, num_inputs, H, W] to [batch, num_outputs, H / stride, W / stride]."""
        hidden = F.relu(self.bn1(self.conv1(images)))
        return F.relu(self.bn2(self.conv2(hidden)) + self.shortcut(images))


class CifarResNet(nn.Module):
    """Stem, residual blocks, global average pool and classifier."""

    def __init__(self, stem: nn.Conv2d, blocks: list[ResidualBlock], classifier: nn.Linear):
        super().__init__()
        self.conv = stem
        self.bn = nn.BatchNorm2d(stem.out_channels)
        self.blocks = nn.Sequential(*blocks)
        self.fc = classifier

    def forward(self, images: Tensor) -> Tensor:
        """Map [batch, C, H, W] to [batch, num_outputs]."""
        features = self.blocks(F.relu(self.bn(self.conv(images))))
        return self.fc(features.mean(dim=(2, 3)))


def cifar_resnet(
    input_shape: InputShape,
    num_outputs: int,
    *,
    depth: int = 20,
    width: int = 16,
    shortcut: Shortcut = "projection",
) -> nn.Module:
    """Build a ResNet of `depth` layers for small images: stages of `width`, 2x and 4x channels.

    `shortcut` says what happens where the resolution halves: "projection" is a 1x1 convolution
    with BatchNorm (option B, the choice of open_lth and Random_Pruning), "padding" has no
    parameters (option A, what the paper used on CIFAR). ResNet-20 has 270,896 prunable weights on
    RGB images with 10 classes under "projection" and 268,336 under "padding".

    Initialisation: kaiming_normal, fan-in (He et al. 2015), BatchNorm 1 and 0.

    Raises ValueError unless depth = 6n + 2 with n >= 1 and `shortcut` is one of the two.
    """
    if depth < 8 or (depth - 2) % 6:
        raise ValueError(f"depth={depth}: must be 6n + 2, for example 20, 32, 44, 56 or 110")
    if shortcut not in ("projection", "padding"):
        raise ValueError(f"shortcut={shortcut!r}: must be 'projection' or 'padding'")
    stem = nn.Conv2d(image_shape(input_shape)[0], width, 3, padding=1, bias=False)
    blocks = _blocks(width, num_per_stage=(depth - 2) // 6, shortcut=shortcut)
    model = CifarResNet(stem, blocks, nn.Linear(4 * width, num_outputs))
    kaiming_normal_(model)
    return model


def _blocks(width: int, *, num_per_stage: int, shortcut: Shortcut) -> list[ResidualBlock]:
    """Build the blocks of all stages in order; the first of stages 2 and 3 halves the image."""
    blocks, num_inputs = [], width
    for num_outputs in (width, 2 * width, 4 * width):
        for _ in range(num_per_stage):
            blocks.append(
                ResidualBlock(
                    num_inputs,
                    num_outputs,
                    stride=1 if num_inputs == num_outputs else 2,
                    shortcut=_shortcut(num_inputs, num_outputs, shortcut),
                )
            )
            num_inputs = num_outputs
    return blocks


def _shortcut(num_inputs: int, num_outputs: int, shortcut: Shortcut) -> nn.Module:
    """Build the path around one block: the identity wherever the shape stays."""
    if num_inputs == num_outputs:
        return nn.Identity()
    if shortcut == "padding":
        return PaddingShortcut(num_outputs - num_inputs)
    projection = nn.Conv2d(num_inputs, num_outputs, 1, stride=2, bias=False)
    return nn.Sequential(projection, nn.BatchNorm2d(num_outputs))
