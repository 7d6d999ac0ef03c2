"""Networks of torchvision, with its parameter names, so that its checkpoints load unchanged.

torchvision is imported when a network is built: it takes a second, and most runs do not need it.
"""

from typing import Any

from torch import nn

from sparsekit.models.shapes import InputShape, image_shape


def resnet18_cifar(input_shape: InputShape, num_outputs: int) -> nn.Module:
    """Build ResNet-18 with the CIFAR stem: a 3x3 convolution of stride 1 and no max pool.

    11,164,352 prunable weights on RGB images with 10 classes. Initialisation: torchvision's
    kaiming_normal with fan-out for convolutions, the new stem included.
    """
    from torchvision.models import resnet18

    model = resnet18(weights=None, num_classes=num_outputs)
    stem = nn.Conv2d(image_shape(input_shape)[0], 64, 3, padding=1, bias=False)
    nn.init.kaiming_normal_(stem.weight, mode="fan_out", nonlinearity="relu")
    model.conv1 = stem
    model.maxpool = nn.Identity()
    return model


def resnet50(input_shape: InputShape, num_outputs: int, *, weights: str | None = None) -> nn.Module:
    """Build torchvision's ResNet-50 (He et al. 2016, with the stride in the 3x3 convolution).

    25,502,912 prunable weights on RGB images with 1000 classes. `weights` names one of
    torchvision's trained sets, for example "IMAGENET1K_V2"; the classifier is then replaced when
    the number of classes differs. Without it the initialisation is torchvision's (kaiming_normal,
    fan-out).

    Raises ValueError for unknown weights, and for trained weights on images that are not RGB.
    """
    channels, _, _ = image_shape(input_shape)
    model = _build("resnet50", num_outputs, weights=weights, input_shape=input_shape, options={})
    if channels != 3:
        stem = nn.Conv2d(channels, 64, 7, stride=2, padding=3, bias=False)
        nn.init.kaiming_normal_(stem.weight, mode="fan_out", nonlinearity="relu")
        model.conv1 = stem
    if model.fc.out_features != num_outputs:
        model.fc = nn.Linear(model.fc.in_features, num_outputs)
    return model


def vit_b_16(
    input_shape: InputShape,
    num_outputs: int,
    *,
    weights: str | None = None,
    dropout: float = 0.0,
) -> nn.Module:
    """Build torchvision's ViT-B/16 (Dosovitskiy et al. 2021, arXiv 2010.11929).

    86,292,480 prunable weights on 224x224 images with 1000 classes; the stacked query, key and
    value projection is one weight of shape [2304, 768]. `weights` names one of torchvision's
    trained sets; the head is then replaced when the number of classes differs.

    Raises ValueError for unknown weights and for images that are not RGB squares with a side
    divisible by 16.
    """
    channels, height, width = image_shape(input_shape)
    if channels != 3 or height != width or height % 16:
        raise ValueError(
            f"input_shape={input_shape}: ViT-B/16 needs RGB squares with a side divisible by 16"
        )
    options = {"image_size": height, "dropout": dropout}
    model = _build(
        "vit_b_16", num_outputs, weights=weights, input_shape=input_shape, options=options
    )
    if model.heads.head.out_features != num_outputs:
        model.heads.head = nn.Linear(model.heads.head.in_features, num_outputs)
    return model


def _build(
    name: str,
    num_outputs: int,
    *,
    weights: str | None,
    input_shape: InputShape,
    options: dict[str, Any],
) -> Any:
    """Call torchvision's builder; with trained weights it keeps the 1000 classes they were for."""
    from torchvision.models import get_model, get_model_weights

    if weights is None:
        return get_model(name, weights=None, num_classes=num_outputs, **options)
    known = list(get_model_weights(name).__members__)
    if weights not in [*known, "DEFAULT"]:
        raise ValueError(f"weights={weights!r}: {name} has {', '.join(known)} and DEFAULT")
    if input_shape[0] != 3:
        raise ValueError(f"input_shape={input_shape}: weights={weights!r} were trained on RGB")
    return get_model(name, weights=weights, **options)
