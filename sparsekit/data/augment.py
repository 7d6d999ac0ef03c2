"""Augmentation of whole batches of uint8 images [B, C, H, W], drawn separately for each image.

Every function is (images, generator, *, options) -> images and leaves its input as it is. The
generator is on the CPU, so the draws do not depend on where the images are.
"""

import math
from collections.abc import Sequence
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

PaddingMode = Literal["constant", "reflect"]


def random_crop(
    images: Tensor, generator: torch.Generator, *, padding: int = 4, mode: PaddingMode = "constant"
) -> Tensor:
    """Pad every side by `padding` pixels, then cut a window of the old size at a random place.

    `mode` "constant" pads with 0 (black), "reflect" mirrors the image without repeating its edge.
    All (2 * padding + 1)^2 places are equally likely.

    Raises ValueError for another mode, a negative padding, or a reflection wider than the image.
    """
    num_images, channels, height, width = images.shape
    padded = _pad(images, padding, mode=mode)
    offsets = torch.randint(2 * padding + 1, (2, num_images, 1, 1), generator=generator)
    top, left = offsets.to(images.device)
    # One entry per row of each crop: where it starts in the padded batch, read as one long vector.
    # Copying such rows is several times faster than indexing single pixels.
    padded_height, padded_width = padded.shape[2:]
    planes = torch.arange(num_images * channels, device=images.device)
    rows = torch.arange(height, device=images.device)
    starts = planes.view(num_images, channels, 1) * padded_height + rows + top
    starts = starts * padded_width + left
    windows = padded.view(-1).unfold(0, width, 1)
    return windows.index_select(0, starts.flatten()).view_as(images)


def random_flip(images: Tensor, generator: torch.Generator, *, probability: float = 0.5) -> Tensor:
    """Mirror each image left to right with the given probability.

    Raises ValueError unless 0 <= probability <= 1.
    """
    if not 0 <= probability <= 1:
        raise ValueError(f"probability={probability}: must be between 0 and 1")
    num_images = len(images)
    flipped = torch.rand(num_images, generator=generator) < probability
    source = torch.arange(num_images) + num_images * flipped
    both = torch.cat([images, images.flip(-1)])
    return both.index_select(0, source.to(images.device))


def random_rotation(images: Tensor, generator: torch.Generator, *, degrees: float) -> Tensor:
    """Turn each image about its centre by an angle drawn uniformly from [-degrees, degrees].

    Nearest pixel, corners filled with 0: what torchvision's RandomRotation does by default.

    Raises ValueError for a negative number of degrees.
    """
    if degrees < 0:
        raise ValueError(f"degrees={degrees}: must be at least 0")
    draws = torch.rand(len(images), generator=generator)
    return _rotate(images, (2 * draws - 1) * math.radians(degrees))


def cutout(
    images: Tensor, generator: torch.Generator, *, size: int = 16, fill: Sequence[int] = (0,)
) -> Tensor:
    """Cover one square of `size` pixels per image; its centre is any pixel, so it may stick out.

    DeVries and Taylor 2017 (arXiv 1708.04552; 16 pixels for CIFAR-10, 8 for CIFAR-100) fill with 0
    after normalisation, that is with the mean of the data; `fill` is one value from 0 to 255 for
    all channels or one per channel.

    Raises ValueError for a size below 1 or a wrong number of fill values.
    """
    num_images, channels, height, width = images.shape
    if size < 1:
        raise ValueError(f"size={size}: must be at least 1")
    if len(fill) not in (1, channels):
        raise ValueError(f"fill={list(fill)}: must hold 1 value or {channels}, one per channel")
    draws = torch.rand(2, num_images, 1, generator=generator)
    inside_rows = _covered(draws[0], height, size)[:, None, :, None]
    inside_columns = _covered(draws[1], width, size)[:, None, None, :]
    square = (inside_rows & inside_columns).to(images.device)
    colour = torch.tensor(fill, dtype=torch.uint8, device=images.device).view(1, -1, 1, 1)
    return torch.where(square, colour, images)


def _pad(images: Tensor, padding: int, *, mode: PaddingMode) -> Tensor:
    """Return images with `padding` more pixels on all four sides, contiguous."""
    if mode not in ("constant", "reflect"):
        raise ValueError(f"mode={mode!r}: must be 'constant' or 'reflect'")
    if padding < 0:
        raise ValueError(f"padding={padding}: must be at least 0")
    if mode == "constant" or padding == 0:
        return F.pad(images, (padding, padding, padding, padding)).contiguous()
    # torch's own reflection does not take uint8.
    for dim in (2, 3):
        size = images.shape[dim]
        if padding >= size:
            raise ValueError(f"padding={padding}: a reflection needs less than {size}, the size")
        before = images.narrow(dim, 1, padding).flip(dim)
        after = images.narrow(dim, size - padding - 1, padding).flip(dim)
        images = torch.cat([before, images, after], dim=dim)
    return images


def _rotate(images: Tensor, radians: Tensor) -> Tensor:
    """Turn image i counter-clockwise by radians[i]; nearest pixel, 0 outside."""
    height, width = images.shape[2:]
    cosine, sine = radians.cos(), radians.sin()
    # Sampling positions are in units of half the image, hence the ratios of the sides.
    rows = [
        torch.stack([cosine, -sine * height / width, torch.zeros_like(sine)], dim=1),
        torch.stack([sine * width / height, cosine, torch.zeros_like(sine)], dim=1),
    ]
    matrices = torch.stack(rows, dim=1).to(images.device)
    grid = F.affine_grid(matrices, list(images.shape), align_corners=False)
    turned = F.grid_sample(images.float(), grid, mode="nearest", align_corners=False)
    return turned.round().to(torch.uint8)


def _covered(draws: Tensor, length: int, size: int) -> Tensor:
    """Return which pixels of one side the square of each image covers: bool [B, length]."""
    centres = (draws * length).long()
    positions = torch.arange(length)
    first = centres - size // 2
    return (positions >= first) & (positions < first + size)
