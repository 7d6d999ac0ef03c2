"""What a network is built for: the shape of one example, as its builder is told it."""

import math
from typing import Any

InputShape = Any
"""(C, H, W), (features,), (T,), ...; a tuple or dict of such for several inputs."""


def image_shape(input_shape: InputShape) -> tuple[int, int, int]:
    """Return channels, height and width.

    Raises ValueError for the shape of anything but one image.

    >>> image_shape((3, 32, 32))
    (3, 32, 32)
    """
    if not _is_shape(input_shape) or len(input_shape) != 3:
        raise ValueError(
            f"input_shape={input_shape}: this network needs images [C, H, W]; rows of numbers go "
            "into mlp, tokens into transformer"
        )
    channels, height, width = input_shape
    return channels, height, width


def num_features(input_shape: InputShape) -> int:
    """Count the numbers in one example.

    Raises ValueError for several inputs, and for one number without a dimension.

    >>> num_features((1, 8, 8))
    64
    """
    if not _is_shape(input_shape) or not input_shape:
        raise ValueError(f"input_shape={input_shape}: this network needs one input [features, ...]")
    return math.prod(input_shape)


def _is_shape(value: Any) -> bool:
    return isinstance(value, tuple | list) and all(isinstance(size, int) for size in value)
