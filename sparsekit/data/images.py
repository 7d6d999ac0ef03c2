"""Reading one image file of unknown origin: small and of a known format, or refused.

What Pillow would do with other formats is never tried: some are programs for other software
(EPS), some unpack without a limit. The size in pixels is checked before anything is decoded.
"""

import warnings
from pathlib import Path

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
