"""Checkpoints on disk: sealed by a digest, and believed only where they fit the fit.

A checkpoint is what torch.save writes, and after it the SHA-256 of that: PyTorch itself does not
notice a changed bit in a tensor. Those of earlier releases end without it.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO

import torch
from torch import Tensor

from sparsekit.core.types import Masks, State
from sparsekit.store.archives import load_archive
from sparsekit.store.aside import put_aside
from sparsekit.system.files import Damaged, open_regular, replacing
from sparsekit.system.printing import printable

log = logging.getLogger(__name__)

LAST = "last.ckpt"
SEAL = b"sparsekit-sha256"
SEALED, FIT = "sealed", "fit"
CHUNK = 2**20
DIGEST_SIZE = hashlib.sha256().digest_size
FIELDS: Mapping[str, Any] = {
    "step": int, "model": Mapping, "optimizer": Mapping, "precision": Mapping, "steps_in_sum": int,
    "loss_sum": (Tensor, float), "masking": Mapping, "history": Mapping, "average": Mapping,
    "strangers": Mapping,
}  # fmt: skip


class DamagedCheckpoint(ValueError):
    """A checkpoint that is not what a fit saved, or is that of another fit; says what is wrong."""


class _Hashing:
    """A file that torch.save writes to, which knows the digest of what was written."""

    def __init__(self, file: BinaryIO) -> None:
        self.file = file
        self.digest = hashlib.sha256()

    def write(self, content: bytes) -> int:
        self.digest.update(content)
        return self.file.write(content)

    def flush(self) -> None:
        self.file.flush()


def write_checkpoint(path: Path, content: Mapping[str, Any]) -> None:
    """Replace `path` by `content` in one step, on the disk before it is seen.

    An interrupt in the middle of torch.save leaves it as a RuntimeError of the unfinished archive;
    it leaves here as the KeyboardInterrupt it was, so that it ends the program and not one run. So
    does the OSError of a disk that is full.
    """
    with replacing(path, path.with_suffix(".partial")) as temporary:
        temporary.unlink(missing_ok=True)
        with temporary.open("xb") as file:
            hashing = _Hashing(file)
            try:
                torch.save({**content, SEALED: True}, hashing)  # type: ignore[arg-type]
            except RuntimeError as error:
                if isinstance(error.__context__, KeyboardInterrupt | OSError):
                    raise error.__context__ from error
                raise
            file.write(SEAL + hashing.digest.digest())


def read_checkpoint(folder: Path) -> dict[str, Any] | None:
    """Read `folder/last.ckpt`; None if nothing was saved. No code in it is run.

    DamagedCheckpoint for what is not a checkpoint of ours, whole.
    """
    path = folder / LAST
    if not os.path.lexists(path):
        return None
    with _damaged(path), _opened(path) as file:
        is_sealed = _is_sealed(file)
        content: dict[str, Any] = load_archive(file)
        if not isinstance(content, dict) or (SEALED in content and not is_sealed):
            raise ValueError("its end is missing")
    return content


def checkpoint_of(
    folder: Path, *, key: str, start: tuple[State, Masks], steps: tuple[int, int]
) -> dict[str, Any] | None:
    """Read the checkpoint of a fit; None if nothing was saved.

    DamagedCheckpoint unless it is of the fit `key`, as far as can be told: of the names and shapes
    of its `start`, the state and the masks that it starts from, and within its `steps`.
    """
    saved = read_checkpoint(folder)
    if saved is None:
        return None
    with _damaged(folder / LAST):
        for name, kind in FIELDS.items():
            if not isinstance(saved.get(name), kind):
                raise ValueError(f"its {name} is not what a fit saves")
        if saved.get(FIT, key) != key:
            raise ValueError(f"it is that of {saved[FIT]!r}")
        if not steps[0] <= saved["step"] <= steps[1]:
            raise ValueError(f"its step {saved['step']} is outside {steps[0]} to {steps[1]}")
        found = (saved["model"], saved["masking"].get("masks"))
        for what, tensors, expected in zip(("weights", "masks"), found, start, strict=True):
            if not isinstance(tensors, Mapping) or _shapes(tensors) != _shapes(expected):
                raise ValueError(f"its {what} are not those of the network")
    return saved


@contextlib.contextmanager
def restoring(path: Path) -> Iterator[None]:
    """Take an error in here for one of the checkpoint at `path`, if it is not one of memory."""
    try:
        yield
    except (MemoryError, torch.OutOfMemoryError):
        raise
    except Exception as error:
        raise DamagedCheckpoint(f"{path} cannot be restored: {error}") from error


def begin_again(train: Callable[[], None], folder: Path, root: Path) -> None:
    """Call `train`, which goes on from the checkpoint in a fit's scratch folder.

    One that is damaged is moved to corrupt/ of the store `root`, and the fit begins again. Its
    bytes are checked before `train` calls other nodes to go on from it.
    """
    try:
        _verify(folder / LAST)
        train()
    except DamagedCheckpoint as damage:
        name = f"{folder.parent.parent.name}.{LAST}"
        aside = put_aside(root, folder / LAST, name=name)
        log.warning("%s", printable(f"{damage}; it is moved to {aside}, and the fit begins again"))
        train()


def _verify(path: Path) -> None:
    """Raise DamagedCheckpoint for a checkpoint whose bytes are not those that were written."""
    if os.path.lexists(path):
        with _damaged(path), _opened(path) as file:
            if not _is_sealed(file):
                load_archive(file)


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[BinaryIO]:
    """Open a regular file, never through a link; ValueError for what would keep us waiting."""
    with open_regular(path) as file:
        yield file


def _is_sealed(file: BinaryIO) -> bool:
    """Say whether a digest follows the archive in `file`; ValueError if it is another one."""
    length = os.fstat(file.fileno()).st_size - len(SEAL) - DIGEST_SIZE
    file.seek(max(length, 0))
    end = file.read()
    file.seek(0)
    if length < 0 or not end.startswith(SEAL):
        return False
    digest = hashlib.sha256()
    while length and (chunk := file.read(min(CHUNK, length))):
        digest.update(chunk)
        length -= len(chunk)
    file.seek(0)
    if digest.digest() != end.removeprefix(SEAL):
        raise ValueError("its bytes are not those that were saved")
    return True


def _shapes(tensors: Mapping[str, Any]) -> dict[str, Any]:
    return {name: getattr(tensor, "shape", None) for name, tensor in tensors.items()}


@contextlib.contextmanager
def _damaged(path: Path) -> Iterator[None]:
    try:
        yield
    except Damaged as error:
        raise DamagedCheckpoint(str(error)) from error
    except ValueError as error:
        raise DamagedCheckpoint(f"{path}: {error}") from error
