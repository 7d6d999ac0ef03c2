"""The IDX format of MNIST: a magic number, the sizes, then the bytes; optionally gzipped."""

import gzip
import math
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

_UNSIGNED_BYTE = b"\x08"


def read_idx(path: Path) -> Tensor:
    """Read the uint8 tensor in an IDX file, at `path` or at `path` with ".gz" appended.

    Raises FileNotFoundError when neither is there, ValueError for anything but a complete IDX
    file of unsigned bytes.
    """
    zipped = path.with_name(path.name + ".gz")
    if path.is_file():
        content = path.read_bytes()
    elif zipped.is_file():
        content = _unzipped(zipped)
    else:
        raise FileNotFoundError(f"neither {path} nor {zipped} is there")
    return _parse(content, path)


def _unzipped(path: Path) -> bytes:
    try:
        return gzip.decompress(path.read_bytes())
    except (OSError, EOFError) as error:
        raise ValueError(f"{path} is not a complete gzip file: {error}") from error


def _parse(content: bytes, path: Path) -> Tensor:
    """Parse two zero bytes, type, number of dimensions, each size in 4 bytes, then the values."""
    if content[:2] != b"\0\0" or content[2:3] != _UNSIGNED_BYTE:
        raise ValueError(f"{path} is not an IDX file of unsigned bytes: it begins {content[:4]!r}")
    start = 4 + 4 * int.from_bytes(content[3:4])
    if len(content) < max(start, 8):
        raise ValueError(f"{path} is incomplete: it ends within its header")
    shape = np.frombuffer(content[4:start], dtype=">u4").tolist()
    if len(content) - start != math.prod(shape):
        raise ValueError(
            f"{path} is incomplete: its header says {shape}, {len(content) - start} bytes follow"
        )
    return torch.frombuffer(bytearray(content), dtype=torch.uint8, offset=start).view(shape)
