"""Any network of timm by its name; timm is imported when a network is built (import is slow)."""

import difflib
from collections.abc import Mapping
from typing import Any

from torch import nn

from sparsekit.models.shapes import InputShape, image_shape


def timm_model(
    input_shape: InputShape,
    num_outputs: int,
    *,
    name: str,
    pretrained: bool = False,
    options: Mapping[str, Any] | None = None,
) -> nn.Module:
    """Build the timm model `name` for images of this shape; initialisation and layers are timm's.

    `options` are further keyword arguments of that model, for example {"patch_size": 4}. The
    number of input channels is always passed on, the image size where the model takes one (vision
    transformers; a convolutional network works at any size). `pretrained` loads timm's trained
    weights, adapted by timm to the channels, the size and the number of classes.

    Raises ValueError for an unknown name, with the nearest ones; for options that the data decide
    (in_chans, img_size, num_outputs); and for options the model does not take.
    """
    import timm

    if not timm.is_model(name):
        nearest = difflib.get_close_matches(name, timm.list_models(), n=5, cutoff=0.5)
        raise ValueError(f"name={name!r}: timm has no such model; nearest: {', '.join(nearest)}")
    options = dict(options or {})
    if taken := sorted({"in_chans", "img_size", "num_classes"} & options.keys()):
        raise ValueError(
            f"options={options}: {', '.join(taken)} come from the data, leave them out"
        )
    channels, height, width = image_shape(input_shape)
    arguments = {"num_classes": num_outputs, "in_chans": channels, **options}
    size = height if height == width else (height, width)
    try:
        return timm.create_model(name, pretrained=pretrained, img_size=size, **arguments)
    except TypeError as error:
        # timm does not say beforehand which models take an image size; Python's own message does.
        if "'img_size'" not in str(error):
            raise ValueError(f"name={name!r}, options={options}: {error}") from error
    try:
        return timm.create_model(name, pretrained=pretrained, **arguments)
    except TypeError as error:
        raise ValueError(f"name={name!r}, options={options}: {error}") from error
