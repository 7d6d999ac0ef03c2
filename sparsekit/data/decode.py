"""Decode a folder of images into one uint8 array, once: later readers load the array."""

import hashlib
import math
import os
import sys
import uuid
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps
from torch import Tensor, from_numpy

from sparsekit.data.folders import Listing
from sparsekit.data.images import read_image
from sparsekit.data.opening import opened

# Raised when the pixels of a decoded image change, so that older cache files are not read.
_VERSION = 1
_CHUNK = 256


def decoded(listing: Listing, *, image_size: int | None = None) -> Tensor:
    """Decode all images of a listing: RGB, uint8 [N, 3, H, W].

    Without `image_size` all images must have the same size; with it each is cut to its central
    square and resized (bilinear). The array is kept in a cache file beside the folder, or under
    the user's cache directory when that place cannot be written, and read from there next time.
    Its name holds a digest of the listing, times of modification included, so a changed folder is
    decoded again. Several processes may do this at once: each writes a file of its own and renames
    it into place.

    Raises ValueError for an image that cannot be read or has another size.
    """
    name = f"{listing.folder.name}-{_key(listing, image_size)}.npy"
    candidates = [directory / name for directory in _cache_directories(listing.folder)]
    for path in candidates:
        images = _load(path, num_images=len(listing))
        if images is not None:
            return from_numpy(images)
    images = _decode_all(listing, image_size)
    for path in candidates:
        # Without a cache the next start is slower, never wrong, so a full or read-only disk is not
        # a reason to stop.
        with suppress(OSError):
            _write(path, images)
            break
    return from_numpy(images)


def _key(listing: Listing, image_size: int | None) -> str:
    text = f"{_VERSION} {image_size} {listing.digest(with_times=True)}"
    return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()


def _cache_directories(folder: Path) -> Iterator[Path]:
    """Yield where a cache file may lie, the best place first."""
    yield folder.parent / ".sparsekit"
    with suppress(RuntimeError):  # of a user whose home nobody knows
        user = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
        place = str(folder.resolve()).encode(errors="surrogateescape")
        yield user / "sparsekit" / hashlib.blake2b(place, digest_size=8).hexdigest()


def _load(path: Path, *, num_images: int) -> np.ndarray | None:
    """Read the array in a cache file; None if the file is missing or not what it should be.

    What its header says must be what follows, before any of it is read.
    """
    try:
        with opened(path, most=sys.maxsize) as file:
            np.lib.format.read_magic(file)
            shape, _, dtype = np.lib.format.read_array_header_1_0(file)
            num_bytes = os.fstat(file.fileno()).st_size - file.tell()
            fits = dtype == np.uint8 and shape[:2] == (num_images, 3) and len(shape) == 4
            if not fits or math.prod(shape) != num_bytes:
                return None
            file.seek(0)
            images: np.ndarray = np.load(file, allow_pickle=False)
            return images
    except (OSError, ValueError, EOFError):
        return None


def _write(path: Path, images: np.ndarray) -> None:
    """Write under a name of our own, then rename: readers see a whole file or none."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f"{path.name}.{uuid.uuid4().hex}.part")
    try:
        with temporary.open("wb") as file:
            np.save(file, images, allow_pickle=False)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def _decode_all(listing: Listing, image_size: int | None) -> np.ndarray:
    """Decode in threads: Pillow works outside the interpreter lock."""
    paths = [listing.folder / path for path in listing.paths]
    first = _decode(paths[0], image_size)
    try:
        images = np.empty((len(paths), *first.shape), dtype=np.uint8)
    except MemoryError as error:
        raise ValueError(
            f"{paths[0]} is {first.shape[2]}x{first.shape[1]} pixels, and {len(paths)} of them are "
            "more than this machine can hold: set image_size"
        ) from error

    def fill(start: int) -> None:
        _decode_into(images[start : start + _CHUNK], paths[start : start + _CHUNK], image_size)

    with ThreadPoolExecutor() as pool:
        for _ in pool.map(fill, range(0, len(paths), _CHUNK)):
            pass
    return images


def _decode_into(images: np.ndarray, paths: Sequence[Path], image_size: int | None) -> None:
    for position, path in enumerate(paths):
        image = _decode(path, image_size)
        if image.shape != images.shape[1:]:
            raise ValueError(
                f"{path} is {image.shape[2]}x{image.shape[1]} pixels, the first image "
                f"{images.shape[3]}x{images.shape[2]}: set image_size to bring them to one size"
            )
        images[position] = image


def _decode(path: Path, image_size: int | None) -> np.ndarray:
    """Decode one image to uint8 [3, H, W]."""
    image = read_image(path)
    if image_size is not None:
        size = (image_size, image_size)
        image = ImageOps.fit(image, size, method=Image.Resampling.BILINEAR)
    return np.asarray(image).transpose(2, 0, 1)
