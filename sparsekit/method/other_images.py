"""Images of another data set as a network would see them: its size, its channels, its scale.

Pixels from 0 to 1 of the other set: grey images are given three equal channels, or colours their
luma (0.299, 0.587, 0.114), where the network wants the other. Images of another size are resized
to its own, bilinear and without aliasing, nothing cut off. Then they are normalised by the mean and
std of the network's own data, not by theirs.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import interpolate

from sparsekit.method.examples import images_in, pixel_scale
from sparsekit.method.studies import CannotStudy, StudyInput

LUMA = (0.299, 0.587, 0.114)


@dataclasses.dataclass(frozen=True)
class OtherImages:
    """The test images of another data set, ready for the network: [M, C, H, W], on the CPU."""

    name: str
    fingerprint: str
    images: Tensor

    def record(self) -> dict[str, Any]:
        """Say which data these were."""
        return {
            "data": self.name,
            "fingerprint": self.fingerprint,
            "num_examples": len(self.images),
        }


def other_images(asked: StudyInput, data: Callable[..., Any]) -> OtherImages:
    """Return the test images of another data set in the form of the network's own.

    CannotStudy where either has no pixels, or both are the same data; ValueError for what is not
    the function of a data set.
    """
    if not callable(data):
        raise ValueError(
            f"other={data!r}: give a data set, such as {{_target_: sparsekit.data.mnist.mnist}}"
        )
    own = pixel_scale(asked)
    judge = asked.judge.beside(data)
    scale, (name, fingerprint) = judge.pixel_scale(), judge.data_identity()
    if fingerprint == asked.judge.data_identity()[1]:
        raise CannotStudy(f"the other data, {name}, are those it was trained on")
    if scale is None:
        raise CannotStudy(f"needs images, and {name} has none of known mean and std")
    shape = images_in(next(asked.judge.batches("test"))[0]).shape[1:]
    images = torch.cat([_fitted(one.cpu(), scale, own, shape) for one, _ in judge.batches("test")])
    return OtherImages(name, fingerprint, images)


def _fitted(
    images: Tensor,
    scale: tuple[Tensor, Tensor],
    own: tuple[Tensor, Tensor],
    shape: torch.Size,
) -> Tensor:
    mean, std = (one.view(-1, 1, 1) for one in scale)
    return (as_shape(images * std + mean, shape) - own[0].view(-1, 1, 1)) / own[1].view(-1, 1, 1)


def as_shape(pixels: Tensor, shape: torch.Size) -> Tensor:
    """Return pixels [N, C, H, W] as images of `shape` [C, H, W]."""
    if pixels.shape[1] == 3 and shape[0] == 1:
        luma = torch.tensor(LUMA, dtype=pixels.dtype).view(-1, 1, 1)
        pixels = (pixels * luma).sum(1, keepdim=True)
    if pixels.shape[2:] != shape[1:]:
        pixels = interpolate(pixels, shape[1:], mode="bilinear", antialias=True)
    return pixels.expand(-1, shape[0], -1, -1)
