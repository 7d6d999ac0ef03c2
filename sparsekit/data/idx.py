"""The IDX format of MNIST: a magic number, the sizes, then the bytes; optionally gzipped."""

import math
import os
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import numpy as np
import torch
from torch import Tensor

from sparsekit.data.opening import opened

MOST_BYTES = 2**30
"""Of one file, unzipped: 20 times MNIST."""
MOST_DIMS = 4
_UNSIGNED_BYTE = b"\x08"
_CHUNK = 2**20


def read_idx(path: Path) -> Tensor:
    """Read the uint8 tensor in an IDX file, at `path` or at `path` with ".gz" appended.

    No more is read, unzipped or kept than its header says. Raises FileNotFoundError when neither
    is there, ValueError, naming the file, for anything but a complete IDX file of unsigned bytes.
    """
    zipped = path.with_name(path.name + ".gz")
    for place in (path, zipped):
        try:
            file = opened(place, most=MOST_BYTES)
        except FileNotFoundError:
            continue
        with file:
            chunks = _unzipped(file, place) if place == zipped else _chunks(file)
            num_bytes = None if place == zipped else os.fstat(file.fileno()).st_size
            return _read(chunks, place, num_bytes)
    raise FileNotFoundError(f"neither {path} nor {zipped} is there")


def _chunks(file: BinaryIO) -> Iterator[bytes]:
    return iter(lambda: file.read(_CHUNK), b"")


def _unzipped(file: BinaryIO, path: Path) -> Iterator[bytes]:
    """Yield what a gzip file of one or more members holds, never more than a chunk at once."""
    try:
        pending = file.read(_CHUNK)
        while pending:
            unzip = zlib.decompressobj(wbits=31)
            while not unzip.eof:
                yield unzip.decompress(pending, _CHUNK)
                pending = unzip.unused_data or unzip.unconsumed_tail or file.read(_CHUNK)
                if not (pending or unzip.eof):
                    raise ValueError(f"{path} is not a complete gzip file: it ends within its data")
    except zlib.error as error:
        raise ValueError(f"{path} is not a complete gzip file: {error}") from error


def _read(chunks: Iterator[bytes], path: Path, num_bytes: int | None) -> Tensor:
    """Read the tensor in a file of `num_bytes`; None if only unzipping it can tell."""
    content = bytearray(next(chunks, b""))
    start, shape = _header(bytes(content), path)
    expected = start + math.prod(shape)
    if expected > MOST_BYTES:
        raise ValueError(
            f"{path}: its header says {shape}, and an IDX file may have {MOST_BYTES} bytes"
        )
    for chunk in chunks if num_bytes in (None, expected) else ():
        content += chunk
        if len(content) > expected:
            break
    found = len(content) if num_bytes is None else num_bytes
    if found != expected:
        how = "incomplete" if found < expected else "longer than it should be"
        more = " or more" if found > expected else ""
        raise ValueError(
            f"{path} is {how}: its header says {shape}, {found - start} bytes{more} follow"
        )
    return torch.frombuffer(content, dtype=torch.uint8, offset=start).view(shape)


def _header(content: bytes, path: Path) -> tuple[int, list[int]]:
    """Return where the values begin, and their shape.

    Two zero bytes, type, number of dimensions, each size in 4 bytes, then the values.
    """
    if content[:2] != b"\0\0" or content[2:3] != _UNSIGNED_BYTE:
        raise ValueError(f"{path} is not an IDX file of unsigned bytes: it begins {content[:4]!r}")
    num_dims = int.from_bytes(content[3:4])
    start = 4 + 4 * num_dims
    if len(content) < max(start, 8):
        raise ValueError(f"{path} is incomplete: it ends within its header")
    shape: list[int] = np.frombuffer(content[4:start], dtype=">u4").tolist()
    if not 1 <= num_dims <= MOST_DIMS or 0 in shape:
        raise ValueError(
            f"{path}: its header says {shape}; expected 1 to {MOST_DIMS} sizes above 0"
        )
    return start, shape
