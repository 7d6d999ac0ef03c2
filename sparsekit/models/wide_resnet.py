"""Wide residual networks, Zagoruyko and Komodakis 2016 (arXiv 1605.07146): WRN-depth-width."""

import torch.nn.functional as F
from torch import Tensor, nn

from sparsekit.models.initialise import kaiming_normal_
from sparsekit.models.shapes import InputShape, image_shape


class WideBlock(nn.Module):
    """Pre-activation block: BN, ReLU, 3x3, BN, ReLU, dropout, 3x3, plus the shortcut.

    Where the number of channels changes, the shortcut is a 1x1 convolution of the activated
    input, as in the authors' code; elsewhere it is the input itself.
    """

    def __init__(self, num_inputs: int, num_outputs: int, *, stride: int, dropout: float) -> None:
        super().__init__()
        self.bn1 = nn.BatchNorm2d(num_inputs)
        self.conv1 = nn.Conv2d(num_inputs, num_outputs, 3, stride=stride, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(num_outputs)
        self.dropout = nn.Dropout(dropout)
        self.conv2 = nn.Conv2d(num_outputs, num_outputs, 3, padding=1, bias=False)
        self.shortcut: nn.Conv2d | None = None
        if num_inputs != num_outputs:
            self.shortcut = nn.Conv2d(num_inputs, num_outputs, 1, stride=stride, bias=False)

    def forward(self, images: Tensor) -> Tensor:
        """Map [batch, num_inputs, H, W] to [batch, num_outputs, H / stride, W / stride]."""
        active = F.relu(self.bn1(images))
        around = images if self.shortcut is None else self.shortcut(active)
        hidden = F.relu(self.bn2(self.conv1(active)))
        return self.conv2(self.dropout(hidden)) + around


class WideResNet(nn.Module):
    """Stem, wide blocks, BatchNorm, global average pool and classifier."""

    def __init__(self, stem: nn.Conv2d, blocks: list[WideBlock], classifier: nn.Linear) -> None:
        super().__init__()
        self.conv = stem
        self.blocks = nn.Sequential(*blocks)
        self.bn = nn.BatchNorm2d(classifier.in_features)
        self.fc = classifier

    def forward(self, images: Tensor) -> Tensor:
        """Map [batch, C, H, W] to [batch, num_outputs]."""
        features = F.relu(self.bn(self.blocks(self.conv(images))))
        return self.fc(features.mean(dim=(2, 3)))


def wide_resnet(
    input_shape: InputShape,
    num_outputs: int,
    *,
    depth: int = 28,
    width: int = 10,
    dropout: float = 0.0,
) -> nn.Module:
    """Build WRN-`depth`-`width`: three stages of 16, 32 and 64 channels times `width`.

    The paper writes the depth of n blocks per stage as 6n + 4, counting the three convolutions of
    the shortcuts; others write 6n + 2 as for plain ResNets. Both are accepted and cannot be
    confused: WRN-32-4, named in the second way, is the paper's WRN-34-4. WRN-28-10 has 36.5
    million parameters with 10 classes. `dropout` is the probability of zeroing an activation
    between the two convolutions of a block.

    Initialisation: kaiming_normal, fan-out for convolutions as in the authors' code, BatchNorm
    1 and 0.

    Raises ValueError unless depth is 6n + 4 or 6n + 2 with n >= 1 and 0 <= dropout < 1.
    """
    if depth < 8 or depth % 6 not in (2, 4):
        raise ValueError(f"depth={depth}: must be 6n + 4 or 6n + 2, for example 16, 22, 28 or 40")
    if not 0 <= dropout < 1:
        raise ValueError(f"dropout={dropout}: must be at least 0 and below 1")
    stem = nn.Conv2d(image_shape(input_shape)[0], 16, 3, padding=1, bias=False)
    blocks, channels = [], 16
    for stage, wider in enumerate((16 * width, 32 * width, 64 * width)):
        for position in range((depth - 2) // 6):
            stride = 2 if stage > 0 and position == 0 else 1
            blocks.append(WideBlock(channels, wider, stride=stride, dropout=dropout))
            channels = wider
    model = WideResNet(stem, blocks, nn.Linear(64 * width, num_outputs))
    kaiming_normal_(model, mode="fan_out")
    return model
