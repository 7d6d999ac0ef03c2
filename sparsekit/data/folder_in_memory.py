"""Any small image set that lies in folders, held in memory."""

from collections.abc import Sequence
from pathlib import Path

from sparsekit.data.decode import decoded
from sparsekit.data.folders import Listing, list_splits
from sparsekit.data.memory import InMemory, Split, channel_statistics, held_out
from sparsekit.data.types import Augment


def image_folder_in_memory(
    root: Path,
    *,
    path: str,
    image_size: int | None = None,
    train_folder: str = "train",
    val_folder: str | None = None,
    test_folder: str = "test",
    num_val: int | None = None,
    num_train: int | None = None,
    split_seed: int = 42,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
    augment: Sequence[Augment] = (),
) -> InMemory:
    """Read RGB images from root/path/<split>/<class>/<image>, decoded once and cached.

    image_size: side in pixels to which every image is cut and resized; None when all have one
        size already.
    val_folder, num_val: where validation images come from, a folder of their own or a seeded,
        class-stratified part of the training images; exactly one of the two.
    num_train: with `num_val`, how many of the others are trained on; None: all.
    mean, std: of each channel; computed from the training split where not given.

    Raises FileNotFoundError or ValueError, naming the place, when a folder or an image is not as
    it should be.
    """
    splits = list_splits(
        root / path,
        train_folder=train_folder,
        val_folder=val_folder,
        test_folder=test_folder,
        num_val=num_val,
    )
    train, test = _read(splits.train, image_size), _read(splits.test, image_size)
    val = None if splits.val is None else _read(splits.val, image_size)
    if num_val is not None:
        train, val = held_out(train, num_val=num_val, seed=split_seed, num_train=num_train)
    elif num_train is not None:
        raise ValueError(f"num_train={num_train}: counts what num_val leaves; num_val is not given")
    assert val is not None, "list_splits lets neither both nor none of the two through"
    measured_mean, measured_std = channel_statistics(train.images)
    return InMemory(
        name=Path(path).name,
        num_classes=len(splits.train.classes),
        train=train,
        val=val,
        test=test,
        mean=measured_mean if mean is None else tuple(mean),
        std=measured_std if std is None else tuple(std),
        augment=tuple(augment),
    )


def _read(listing: Listing, image_size: int | None) -> Split:
    return Split(decoded(listing, image_size=image_size), listing.labels)
