"""Files that somebody hostile, or a full disk, put into a data set: refused at once, by name."""

import contextlib
import functools
import gzip
import io
import os
import pickle
import resource
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from sparsekit.data.cifar import cifar10
from sparsekit.data.decode import decoded
from sparsekit.data.folder_in_memory import image_folder_in_memory
from sparsekit.data.folders import list_images
from sparsekit.data.image_folder import image_folder
from sparsekit.data.mnist import mnist

TERABYTE = 2**40
ZEROS = 100_000_000
SPARE = 2**29  # bytes that a reader may take besides
PIXELS = bytes(range(18))
SIGN = "sign-of-a-pickle"


class Bomb:
    """Unpickled, it leaves a folder behind."""

    def __reduce__(self):
        return os.mkdir, (SIGN,)


def idx(shape: tuple[int, ...], content: bytes, *, kind: int = 8) -> bytes:
    sizes = b"".join(struct.pack(">I", size) for size in shape)
    return bytes((0, 0, kind, len(shape))) + sizes + content


def zeros(begin: bytes) -> Callable[[Path], object]:
    """A gzip file of 0.1 MB that unpacks to a hundred."""
    return lambda path: path.write_bytes(gzip.compress(begin + bytes(ZEROS), 9))


def bomb(kind: bytes) -> Callable[[Path], object]:
    """A small picture with a chunk that unpacks to a hundred MB."""
    return lambda path: path.write_bytes(png(8, 8, more=chunk(kind, b"k\0\0" + packed_zeros())))


@functools.cache
def packed_zeros() -> bytes:
    return zlib.compress(bytes(ZEROS))


def png(width: int, height: int, *, more: bytes = b"") -> bytes:
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    data = chunk(b"IDAT", zlib.compress(bytes(100)))
    return b"\x89PNG\r\n\x1a\n" + header + more + data + chunk(b"IEND", b"")


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def gif() -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (8, 8)).save(file, "GIF")
    return file.getvalue()


def pipe(path: Path) -> None:
    os.mkfifo(path)


def folder(path: Path) -> None:
    path.mkdir()


def device(path: Path) -> None:
    path.symlink_to("/dev/zero")


def loop(path: Path) -> None:
    path.symlink_to(path)


def nowhere(path: Path) -> None:
    path.symlink_to(path.with_name("is not there"))


def sparse(path: Path) -> None:
    path.touch()
    os.truncate(path, TERABYTE)


def missing(path: Path) -> None:
    pass


Content = bytes | Callable[[Path], object]
SPECIAL = {"pipe": pipe, "folder": folder, "device": device, "loop": loop, "sparse": sparse}
IMAGES, LABELS = "train-images-idx3-ubyte", "train-labels-idx1-ubyte"
IDX: dict[str, tuple[str, Content]] = {
    "a bomb behind a small header": (f"{IMAGES}.gz", zeros(idx((2, 3, 3), PIXELS))),
    "2^31 elements, zipped": (f"{IMAGES}.gz", zeros(idx((2**31 // 784, 28, 28), b""))),
    "2^31 elements": (IMAGES, idx((2**31 // 784, 28, 28), PIXELS)),
    "2^96 elements": (IMAGES, idx((2**32 - 1,) * 3, PIXELS)),
    "255 dimensions": (IMAGES, idx((1,) * 255, b"x")),
    "no images": (IMAGES, idx((0, 28, 28), b"")),
    "two dimensions": (IMAGES, idx((2, 9), PIXELS)),
    "one byte short": (IMAGES, idx((2, 3, 3), PIXELS[:-1])),
    "one byte long": (IMAGES, idx((2, 3, 3), PIXELS + b"x")),
    "cut zip": (f"{IMAGES}.gz", gzip.compress(idx((2, 3, 3), PIXELS))[:-4]),
    "a zip that is none": (f"{IMAGES}.gz", b"\x1f\x8b" + bytes(100)),
    "a zip with an endless name": (f"{IMAGES}.gz", b"\x1f\x8b\x08\x08" + b"x" * 10**7),
    "a page": (IMAGES, b"<html>not found</html>"),
    "floats": (IMAGES, idx((2, 3, 3), PIXELS, kind=13)),
    "a pickle": (IMAGES, pickle.dumps(Bomb())),
    "nothing": (IMAGES, b""),
    "labels above 9": (LABELS, idx((2,), b"\x03\xc8")),
    "a label too few": (LABELS, idx((1,), b"\x03")),
    **{f"{name} for images": (IMAGES, make) for name, make in SPECIAL.items()},
    **{f"{name} for zipped images": (f"{IMAGES}.gz", make) for name, make in SPECIAL.items()},
}
BATCHES: dict[str, tuple[str, Content]] = {
    "a pickle": ("data_batch_2", pickle.dumps(Bomb())),
    "a pickle for the test": ("test_batch", pickle.dumps(Bomb())),
    "nothing": ("data_batch_1", b""),
    "missing": ("data_batch_1", missing),
    **{f"{name}": ("data_batch_1", make) for name, make in SPECIAL.items()},
}
PICTURES: dict[str, Content] = {
    "30,000 x 30,000 pixels": png(30_000, 30_000),
    "12,000 x 12,000 pixels": png(12_000, 12_000),
    "2^31 x 2^31 pixels": png(2**31 - 1, 2**31 - 1),
    "no pixels": png(0, 8),
    "a text bomb": bomb(b"zTXt"),
    "a profile bomb": bomb(b"iCCP"),
    "a chunk of 2 GB": png(8, 8, more=struct.pack(">I", 2**31 - 1) + b"tEXt"),
    "a program for Ghostscript": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\nshowpage\n",
    "another format": gif(),
    "a cut picture": png(8, 8)[:50],
    "half of the rows": png(400, 400),
    "a huge TIFF tag": b"II*\0\x08\0\0\0\x01\0\x00\x01\x04\0\xff\xff\xff\x7f\x08\0\0\0\0\0\0\0",
    "text": b"not a picture",
    "nothing": b"",
    "nowhere": nowhere,
    **SPECIAL,
}


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """In a folder of its own, where no pickle leaves a sign; caches of images are not kept."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    yield
    assert not Path(SIGN).exists()


@contextlib.contextmanager
def little_memory() -> Iterator[None]:
    """Let this process have little more memory than it has."""
    before = resource.getrlimit(resource.RLIMIT_AS)
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    now = pages * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (now + SPARE, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, before)


def put(path: Path, content: Content) -> None:
    path.unlink(missing_ok=True)
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        content(path)


def refused(call: Callable[[], object], name: str) -> str:
    """What `call` refuses its data with: one line that names the file."""
    with little_memory(), pytest.raises(ValueError) as caught:  # noqa: PT011
        call()
    message = str(caught.value)
    assert name in message
    assert not message.endswith(": "), "an error without words, such as MemoryError"
    assert "\n" not in message
    return message


@pytest.mark.parametrize("what", IDX)
def test_idx_files(what: str, tmp_path: Path) -> None:
    raw = tmp_path / "MNIST" / "raw"
    raw.mkdir(parents=True)
    for prefix in ("train", "t10k"):
        (raw / f"{prefix}-images-idx3-ubyte").write_bytes(idx((2, 3, 3), PIXELS))
        (raw / f"{prefix}-labels-idx1-ubyte").write_bytes(idx((2,), b"\x03\x09"))
    assert mnist(tmp_path, num_val=0).num_train == 2
    name, content = IDX[what]
    (raw / name.removesuffix(".gz")).unlink()
    put(raw / name, content)
    of_a_pair = what in ("two dimensions", "labels above 9", "a label too few")
    refused(lambda: mnist(tmp_path, num_val=0), "train" if of_a_pair else name)


@pytest.mark.parametrize("what", BATCHES)
def test_batches_of_cifar(what: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from tests.data.test_data_builders import write_cifar10_batches

    write_cifar10_batches(tmp_path / "cifar-10-batches-py", monkeypatch)
    name, content = BATCHES[what]
    (tmp_path / "cifar-10-batches-py" / name).unlink()
    put(tmp_path / "cifar-10-batches-py" / name, content)
    refused(lambda: cifar10(tmp_path, num_val=10), name)


def write_pets(root: Path, what: str) -> Path:
    for split in ("train", "test"):
        for pet in ("cat", "dog"):
            (root / "pets" / split / pet).mkdir(parents=True)
            Image.new("RGB", (8, 8)).save(root / "pets" / split / pet / "a.png")
    path = root / "pets" / "train" / "dog" / "b.png"
    put(path, PICTURES[what])
    return path


@pytest.mark.parametrize("what", PICTURES)
def test_pictures_decoded_once(what: str, tmp_path: Path) -> None:
    path = write_pets(tmp_path, what)
    refused(lambda: image_folder_in_memory(tmp_path, path="pets", num_val=1), str(path))


@pytest.mark.parametrize("what", PICTURES)
def test_pictures_decoded_as_they_go(what: str, tmp_path: Path) -> None:
    import torch

    path = write_pets(tmp_path, what)

    def read() -> None:
        data = image_folder(tmp_path, path="pets", num_val=0, image_size=8, num_workers=0)
        list(data.eval_batches("train", batch_size=9, device=torch.device("cpu")))

    refused(read, str(path))


def test_a_class_that_leads_nowhere(tmp_path: Path) -> None:
    write_pets(tmp_path, "text")
    loop(tmp_path / "pets" / "train" / "eel")
    refused(lambda: image_folder(tmp_path, path="pets", num_val=0), "eel")


def test_pictures_of_more_than_all_memory(tmp_path: Path) -> None:
    write_pets(tmp_path, "nothing").unlink()
    first = tmp_path / "pets" / "train" / "cat" / "a.png"
    Image.new("L", (3000, 3000)).save(first)
    for number in range(30):
        (tmp_path / "pets" / "train" / "cat" / f"{number}.png").symlink_to(first)
    call = lambda: image_folder_in_memory(tmp_path, path="pets", num_val=1)  # noqa: E731
    assert "set image_size" in refused(call, "png is 3000x3000 pixels")


def npz(path: Path) -> None:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.npy", bytes(ZEROS))


def header(path: Path) -> None:
    shape = "{'descr': '|u1', 'fortran_order': False, 'shape': (2, 3, 1000000, 1000000), }"
    path.write_bytes(b"\x93NUMPY\x01\x00" + struct.pack("<H", len(shape)) + shape.encode())


def objects(path: Path) -> None:
    with path.open("wb") as file:
        np.save(file, np.array([Bomb()], dtype=object), allow_pickle=True)


@pytest.mark.parametrize("make", [npz, header, objects, *SPECIAL.values(), nowhere])
def test_a_cache_that_is_none_is_written_again(
    make: Callable[[Path], None], tmp_path: Path
) -> None:
    write_pets(tmp_path, "nothing").unlink()
    listing = list_images(tmp_path / "pets" / "train")
    before = decoded(listing)
    (cache,) = (tmp_path / "pets" / ".sparsekit").iterdir()
    cache.unlink()
    make(cache)
    with little_memory():
        assert decoded(listing).equal(before)
