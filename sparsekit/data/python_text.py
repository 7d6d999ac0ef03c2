"""The source code of Python's standard library: real text that is there wherever Python is."""

import hashlib
import platform
import sysconfig
from collections.abc import Iterator
from pathlib import Path

import torch
from torch import Tensor

from sparsekit.data.tensors import Examples, TensorData


def python_text(
    root: Path,
    *,
    length: int = 64,
    num_bytes: int = 1_000_000,
    val_fraction: float = 0.05,
    test_fraction: float = 0.05,
) -> TensorData:
    """Predict the next byte of Python's own standard library, in windows of `length` bytes.

    The text is what the modules `*.py` of the library's top folder hold, in the order of their
    names, without those whose name begins with an underscore (some are written when Python is
    built) and without packages; its first `num_bytes` are used (3.11 has 4.2 million). The last
    `test_fraction` of them are the test split, those before the validation split: other modules
    than are trained on. Every part is cut into windows that do not overlap: inputs int64
    [length], targets int64 [length] the byte after each, 256 outputs.

    The text differs between releases of Python, and so does the fingerprint: a store refuses to
    mix them. `root` is not read. The library is under the PSF licence.

    Raises ValueError for numbers that leave a part without a window or ask for more than there is,
    FileNotFoundError where Python is installed without its sources.
    """
    if length < 1:
        raise ValueError(f"length={length}: must be at least 1")
    text = _text(num_bytes)
    num_val, num_test = (int(num_bytes * share) for share in (val_fraction, test_fraction))
    num_train = num_bytes - num_val - num_test
    for name, size in (("train", num_train), ("val", num_val), ("test", num_test)):
        if size <= length:
            raise ValueError(
                f"length={length}: the {name} part has {max(size, 0)} bytes of "
                f"num_bytes={num_bytes}, which is not one window and the byte after it"
            )
    numbers = torch.frombuffer(bytearray(text), dtype=torch.uint8).long()
    ends = (num_train, num_train + num_val)
    train, val, test = (_windows(one, length) for one in numbers.tensor_split(ends))
    digest = hashlib.blake2b(text, digest_size=16)
    digest.update(f"{length} {num_val} {num_test}".encode())
    return TensorData("python_text", 256, train, val, test, digest=digest.hexdigest())


def _text(num_bytes: int) -> bytes:
    """Read the first `num_bytes` of the text."""
    text = bytearray()
    for path in modules():
        text += path.read_bytes()
        if len(text) >= num_bytes:
            return bytes(text[:num_bytes])
    raise ValueError(
        f"num_bytes={num_bytes}: the standard library of Python {platform.python_version()} has "
        f"{len(text)} bytes of such modules"
    )


def modules() -> Iterator[Path]:
    """List the modules whose text is read, by name; FileNotFoundError if there are none."""
    folder = Path(sysconfig.get_path("stdlib"))
    found = [path for path in sorted(folder.glob("*.py")) if not path.name.startswith("_")]
    if not found:
        raise FileNotFoundError(
            f"python_text needs the sources of the standard library, and there is no module in "
            f"{folder}; install Python with them"
        )
    return iter(found)


def _windows(text: Tensor, length: int) -> Examples:
    """Cut into windows; the byte after the last one of a window is the first of the next."""
    num = (len(text) - 1) // length
    inputs = text[: num * length].view(num, length)
    return Examples(inputs, text[1 : num * length + 1].view(num, length))
