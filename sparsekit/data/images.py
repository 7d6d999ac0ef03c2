"""Reading one image file of unknown origin: small and of a known format, or refused.

What Pillow would do with other formats is never tried: some are programs for other software
(EPS), some unpack without a limit. The size in pixels is checked before anything is decoded.
"""

import warnings
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from sparsekit.data.opening import opened

MOST_BYTES = 2**28
MOST_PIXELS = 2**26
# Pillow warns of what is refused here.
warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning)
FORMATS = ("JPEG", "PNG", "BMP", "WEBP", "PPM", "TIFF")
SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".ppm", ".pgm", ".tif", ".tiff")


def read_image(path: Path) -> Image.Image:
    """Read the first picture in a file, as RGB.

    Raises ValueError, naming the file, for anything but an image of a known format with at most
    `MOST_PIXELS` pixels.
    """
    try:
        with opened(path, most=MOST_BYTES) as file:
            image = Image.open(file, formats=FORMATS)
            if image.width * image.height > MOST_PIXELS:
                raise ValueError(f"it has {image.width}x{image.height} pixels, above {MOST_PIXELS}")
            return image.convert("RGB")
    except Exception as error:  # of any kind: a decoder meets what nobody has foreseen
        raise ValueError(f"{path} is not a readable image: {error}") from error


def read_pixels(path: Path) -> "np.ndarray[Any, Any]":
    """Read the first picture in a file as RGB, uint8 [H, W, 3]: the pixels of `read_image`.

    JPEGs in greys or YCbCr take two thirds of the time where `simplejpeg` is installed (the extra
    "images"). It is the same libjpeg-turbo, set to the same exact transforms, so the pixels are the
    same. Whatever it refuses or warns of is left to Pillow. ValueError as there.
    """
    decoder = _jpeg_decoder()
    if decoder is not None and path.suffix.lower() in (".jpg", ".jpeg"):
        with opened(path, most=MOST_BYTES) as file:
            data = file.read()
        try:
            height, width, colours, _ = decoder.decode_jpeg_header(data)
            if height * width <= MOST_PIXELS and colours in ("YCbCr", "Gray"):
                return decoder.decode_jpeg(data, colorspace="RGB")
        except ValueError:
            pass
    return np.asarray(read_image(path))


@cache
def _jpeg_decoder() -> Any:
    """Import `simplejpeg`, None where it is not installed."""
    try:
        import simplejpeg
    except ImportError:
        return None
    return simplejpeg
