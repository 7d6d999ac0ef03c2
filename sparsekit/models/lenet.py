"""Small networks for MNIST-sized images: a multilayer perceptron, LeNet-300-100 and LeNet-5."""

from collections.abc import Sequence
from itertools import pairwise

from torch import nn

from sparsekit.models.initialise import glorot_normal_
from sparsekit.models.shapes import InputShape, image_shape, num_features


def mlp(
    input_shape: InputShape, num_outputs: int, *, hidden: Sequence[int] = (64, 64)
) -> nn.Module:
    """Build a perceptron with ReLU between its layers: [batch, ...] -> [batch, num_outputs].

    Inputs of any shape are flattened. `hidden` lists the widths of the hidden layers; an empty list
    gives softmax or linear regression. Gaussian Glorot initialisation, biases 0.

    Raises ValueError for a width below 1 and for several inputs.
    """
    if any(width < 1 for width in hidden):
        raise ValueError(f"hidden={list(hidden)}: every width must be at least 1")
    sizes = [num_features(input_shape), *hidden]
    layers: list[nn.Module] = [nn.Flatten()]
    for fan_in, fan_out in pairwise(sizes):
        layers += [nn.Linear(fan_in, fan_out), nn.ReLU()]
    model = nn.Sequential(*layers, nn.Linear(sizes[-1], num_outputs))
    glorot_normal_(model)
    return model


def lenet_300_100(input_shape: InputShape, num_outputs: int) -> nn.Module:
    """Build LeNet-300-100 of LeCun et al. 1998: two hidden layers of 300 and 100 units.

    266,200 prunable weights on 28x28 grey images with 10 classes. ReLU and Gaussian Glorot
    initialisation as in Frankle and Carbin 2019 (arXiv 1803.03635).
    """
    return mlp(input_shape, num_outputs, hidden=(300, 100))


def lenet_5(input_shape: InputShape, num_outputs: int) -> nn.Module:
    """Build LeNet-5 in its Caffe variant, the one of the pruning literature (Han et al. 2015).

    Convolution 5x5 to 20 channels, max pool 2, convolution 5x5 to 50 channels, max pool 2, 500
    hidden units, classifier; ReLU only after the hidden units, no padding. 430,500 prunable
    weights on 28x28 grey images with 10 classes. It is not the LeNet-5 of 1998, which has 6 and
    16 channels and sigmoids. Gaussian Glorot initialisation.

    Raises ValueError for images below 16x16, of which the pools leave nothing.
    """
    channels, height, width = image_shape(input_shape)
    if min(height, width) < 16:
        raise ValueError(f"input_shape={input_shape}: LeNet-5 needs images of at least 16x16")
    num_positions = (((height - 4) // 2 - 4) // 2) * (((width - 4) // 2 - 4) // 2)
    model = nn.Sequential(
        nn.Conv2d(channels, 20, 5),
        nn.MaxPool2d(2),
        nn.Conv2d(20, 50, 5),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(50 * num_positions, 500),
        nn.ReLU(),
        nn.Linear(500, num_outputs),
    )
    glorot_normal_(model)
    return model
