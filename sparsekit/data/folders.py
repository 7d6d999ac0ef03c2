"""Folders with one sub-folder per class: what is in them, without opening an image."""

import hashlib
import os
import stat
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from sparsekit.data.images import SUFFIXES


@dataclass(frozen=True, eq=False)
class Listing:
    """The images of one split, ordered by class and file name; classes are numbered in that order.

    paths: "class/file", relative to `folder`. sizes: in bytes. modified: in nanoseconds, as the
    file system states it. labels: int64 [N].
    """

    folder: Path
    classes: tuple[str, ...]
    paths: tuple[str, ...]
    sizes: tuple[int, ...]
    modified: tuple[int, ...]
    labels: Tensor

    def __len__(self) -> int:
        return len(self.paths)

    def take(self, indices: Tensor) -> "Listing":
        """Return the images at these positions, in this order."""
        where = indices.tolist()
        return Listing(
            folder=self.folder,
            classes=self.classes,
            paths=tuple(self.paths[index] for index in where),
            sizes=tuple(self.sizes[index] for index in where),
            modified=tuple(self.modified[index] for index in where),
            labels=self.labels[indices],
        )

    def digest(self, *, with_times: bool = False) -> str:
        """Return a hex digest of paths and sizes; with times it also notices replaced files.

        Without them it is the same for every copy of the folder.
        """
        digest = hashlib.blake2b(digest_size=16)
        times = self.modified if with_times else (0,) * len(self)
        for entry in zip(self.paths, self.sizes, times, strict=True):
            digest.update(f"{entry}\n".encode())
        return digest.hexdigest()


def list_images(folder: Path) -> Listing:
    """List folder/<class>/<image>; hidden files and files of other kinds are passed over.

    Raises FileNotFoundError when the folder is missing, ValueError when it has no class folders
    or one of them has no images.
    """
    if not folder.is_dir():
        raise FileNotFoundError(
            f"no folder {folder}: expected one sub-folder of images per class in it"
        )
    classes = sorted(entry.name for entry in folder.iterdir() if _is_class_folder(entry))
    if not classes:
        raise ValueError(f"{folder} holds no class folders: expected {folder}/<class>/<image>")
    found = [
        (label, *image) for label, name in enumerate(classes) for image in _images(folder, name)
    ]
    labels, paths, sizes, modified = zip(*found, strict=True)
    return Listing(folder, tuple(classes), paths, sizes, modified, torch.tensor(labels))


@dataclass(frozen=True, eq=False)
class SplitListings:
    """Train, validation and test; `val` is None when it has to be taken out of `train`."""

    train: Listing
    val: Listing | None
    test: Listing


def list_splits(
    folder: Path,
    *,
    train_folder: str,
    val_folder: str | None,
    test_folder: str,
    num_val: int | None,
) -> SplitListings:
    """List the splits of a data set that has a folder for each.

    Raises ValueError unless exactly one of `val_folder` and `num_val` says where the validation
    images come from, and when the splits have different classes.
    """
    if (val_folder is None) == (num_val is None):
        raise ValueError(
            f"val_folder={val_folder!r}, num_val={num_val}: give exactly one of them, the folder "
            "of the validation images or how many to take out of the training images"
        )
    train, test = list_images(folder / train_folder), list_images(folder / test_folder)
    val = None if val_folder is None else list_images(folder / val_folder)
    for other in (test, *([] if val is None else [val])):
        if difference := sorted(set(train.classes) ^ set(other.classes)):
            raise ValueError(
                f"{train.folder} and {other.folder} have different classes: "
                f"{', '.join(difference[:10])} in only one of them"
            )
    return SplitListings(train, val, test)


def _is_class_folder(entry: Path) -> bool:
    if entry.name.startswith("."):
        return False
    if entry.is_symlink() and not entry.exists():
        raise ValueError(f"{entry} is a link that leads nowhere")
    return entry.is_dir()


def _images(folder: Path, name: str) -> list[tuple[str, int, int]]:
    """List (path relative to folder, bytes, time of modification) of a class, sorted by path."""
    images = []
    with os.scandir(folder / name) as entries:
        for entry in entries:
            if entry.name.lower().endswith(SUFFIXES) and not entry.name.startswith("."):
                status = _status(entry)
                images.append((f"{name}/{entry.name}", status.st_size, status.st_mtime_ns))
    if not images:
        raise ValueError(f"{folder / name} holds no images ({', '.join(SUFFIXES)})")
    return sorted(images)


def _status(entry: os.DirEntry[str]) -> os.stat_result:
    try:
        status = entry.stat()
    except OSError as error:
        raise ValueError(f"{entry.path} cannot be read: {error.strerror}") from error
    if not stat.S_ISREG(status.st_mode):
        raise ValueError(f"{entry.path} is not a regular file")
    return status
