"""Files of torch.save, which somebody else may have made: tensors and plain values, or refused."""

from __future__ import annotations

import errno
import os
import zipfile
from typing import Any, BinaryIO

import torch


def load_archive(file: BinaryIO) -> Any:
    """Load what torch.save wrote into an open file, on the CPU; no code in it is run.

    ValueError, in one line, for what is no such file, and for one that unpacks to more than its
    own bytes: torch.save packs nothing.
    """
    try:
        if zipfile.is_zipfile(file):
            _refuse_packed(file)
        file.seek(0)
        return torch.load(file, map_location="cpu", weights_only=True)
    except MemoryError:
        raise
    except Exception as error:  # of whatever kind: it may be any file
        # Asked for a place that a cut file does not have, a file system says EINVAL. What else it
        # says is no word about the file.
        if isinstance(error, OSError) and error.errno not in (None, errno.EINVAL):
            raise
        reason = str(error).partition("\n")[0].partition(". ")[0] or type(error).__name__
        raise ValueError(f"not a whole file of tensors and plain values: {reason}") from error


def _refuse_packed(file: BinaryIO) -> None:
    size = file.seek(0, os.SEEK_END)
    with zipfile.ZipFile(file) as archive:
        parts = archive.infolist()
    is_packed = any(part.compress_type != zipfile.ZIP_STORED for part in parts)
    if is_packed or sum(part.file_size for part in parts) > size:
        raise ValueError("it is packed")
