"""Small image folders written for a test, and the full MNIST on machines that have it."""

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

REPOSITORY = Path(__file__).parents[2]


@pytest.fixture
def mnist_root() -> Path:
    """Where the full MNIST is; its tests are skipped on machines without it."""
    places = [
        Path(os.environ.get("SPARSEKIT_DATA", REPOSITORY / "data")),
        REPOSITORY / "data",
        REPOSITORY.parent / "shared" / "data",
    ]
    for place in places:
        if list((place / "MNIST" / "raw").glob("train-images-idx3-ubyte*")):
            return place
    pytest.skip("the full MNIST is not on this machine")


@pytest.fixture
def write_image_folder() -> Callable[..., np.ndarray]:
    """The function below, for tests that lay out their own data set."""
    return _write_image_folder


def _write_image_folder(
    folder: Path, *, classes: tuple[str, ...], num_each: int, size: tuple[int, int] = (8, 8)
) -> np.ndarray:
    """Write lossless random images folder/<class>/<number>.png; returns them [N, H, W, 3]."""
    random = np.random.default_rng(len(folder.name))
    images = random.integers(0, 256, (len(classes) * num_each, size[1], size[0], 3), np.uint8)
    for position, image in enumerate(images):
        path = folder / classes[position // num_each] / f"{position % num_each:04d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(path)
    return images
