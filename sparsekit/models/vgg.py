"""VGG with BatchNorm for small images: the convolutions of Simonyan and Zisserman 2015."""

from torch import Tensor, nn

from sparsekit.models.initialise import kaiming_normal_
from sparsekit.models.shapes import InputShape, image_shape

# Convolutions per stage (table 1 of arXiv 1409.1556); the depth also counts the original's three
# fully connected layers.
_CONVOLUTIONS = {11: (1, 1, 2, 2, 2), 13: (2, 2, 2, 2, 2), 16: (2, 2, 3, 3, 3), 19: (2, 2, 4, 4, 4)}
_CHANNELS = (64, 128, 256, 512, 512)


class Vgg(nn.Module):
    """Convolutions with BatchNorm and ReLU, global average pool, one linear classifier."""

    def __init__(self, feature: nn.Sequential, classifier: nn.Linear) -> None:
        super().__init__()
        self.feature = feature
        self.classifier = classifier

    def forward(self, images: Tensor) -> Tensor:
        """Map [batch, C, H, W] to [batch, num_outputs]."""
        return self.classifier(self.feature(images).mean(dim=(2, 3)))


def vgg(input_shape: InputShape, num_outputs: int, *, depth: int = 16) -> nn.Module:
    """Build VGG-`depth` with BatchNorm and one linear layer in place of the three large ones.

    The CIFAR form of the pruning literature (open_lth, Random_Pruning): max pools after the first
    four stages, then a global average pool; convolutions without bias. VGG-16 has 14,715,584
    prunable weights on RGB images with 10 classes.

    Initialisation: kaiming_normal, fan-in (He et al. 2015), BatchNorm 1 and 0.

    Raises ValueError for another depth than 11, 13, 16, 19 and for images below 16x16.
    """
    if depth not in _CONVOLUTIONS:
        raise ValueError(f"depth={depth}: must be one of {', '.join(map(str, _CONVOLUTIONS))}")
    channels, *sides = image_shape(input_shape)
    if min(sides) < 16:
        raise ValueError(f"input_shape={input_shape}: VGG needs images of at least 16x16")
    layers: list[nn.Module] = []
    for width, num_convolutions in zip(_CHANNELS, _CONVOLUTIONS[depth], strict=True):
        if layers:
            layers.append(nn.MaxPool2d(2))
        for _ in range(num_convolutions):
            layers.append(nn.Conv2d(channels, width, 3, padding=1, bias=False))
            layers += [nn.BatchNorm2d(width), nn.ReLU(inplace=True)]
            channels = width
    model = Vgg(nn.Sequential(*layers), nn.Linear(_CHANNELS[-1], num_outputs))
    kaiming_normal_(model)
    return model
