"""Files of weights that are none, or do more than hold weights: refused in one line, by name."""

from __future__ import annotations

import io
import os
import pickle
import struct
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save

from sparsekit.networks.sources import read_state

SIGN = "sign-of-a-pickle"
WEIGHTS = {"weight": torch.arange(1000.0)}


class Bomb:
    """Unpickled, it leaves a folder behind."""

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[str]]:
        return os.mkdir, (SIGN,)


def saved(content: Any, **settings: Any) -> bytes:
    file = io.BytesIO()
    torch.save(content, file, **settings)
    return file.getvalue()


def packed() -> bytes:
    file, archive = io.BytesIO(), zipfile.ZipFile(io.BytesIO(saved(WEIGHTS)))
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as new:
        for part in archive.infolist():
            new.writestr(part.filename, archive.read(part.filename))
        new.writestr("archive/data/1", bytes(100_000_000))
    return file.getvalue()


def device(path: Path) -> None:
    path.symlink_to("/dev/zero")


def loop(path: Path) -> None:
    path.symlink_to(path)


SAFE = save(WEIGHTS)
FILES: dict[str, bytes | Callable[[Path], object]] = {
    "pickle.pt": pickle.dumps(Bomb()),
    "pickle in an archive.pt": saved({"weight": Bomb()}),
    "old pickle.pt": saved({"weight": Bomb()}, _use_new_zipfile_serialization=False),
    "module.pt": saved(torch.nn.Linear(2, 2)),
    "packed.pt": packed(),
    "cut.pt": saved(WEIGHTS)[:-300],
    "cut old.pt": saved(WEIGHTS, _use_new_zipfile_serialization=False)[:-300],
    "empty.pt": b"",
    "text.pt": b"<html>not found</html>",
    "other content.pt": saved({"epoch": 3}),
    "list.pt": saved([torch.ones(2)]),
    "pickle.safetensors": pickle.dumps(Bomb()),
    "empty.safetensors": b"",
    "cut.safetensors": SAFE[:-4],
    "long header.safetensors": struct.pack("<Q", 2**60) + SAFE[8:],
    "archive.safetensors": saved(WEIGHTS),
    "pipe.pt": os.mkfifo,
    "pipe.safetensors": os.mkfifo,
    "folder.pt": Path.mkdir,
    "device.pt": device,
    "device.safetensors": device,
    "loop.pt": loop,
    "missing.pt": lambda path: None,
}


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """In a folder of its own, where no pickle leaves a sign."""
    monkeypatch.chdir(tmp_path)
    yield
    assert not Path(SIGN).exists()


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", FILES)
def test_files_that_hold_no_weights(name: str, tmp_path: Path) -> None:
    content = FILES[name]
    if isinstance(content, bytes):
        (tmp_path / name).write_bytes(content)
    else:
        content(tmp_path / name)
    with pytest.raises(ValueError, match=f"source.path=.*{name}") as caught:
        read_state(tmp_path / name)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("new.pt", saved(WEIGHTS)),
        ("old.pt", saved(WEIGHTS, _use_new_zipfile_serialization=False)),
        ("safe.safetensors", SAFE),
    ],
)
def test_files_of_weights_also_where_a_link_leads_to_them(
    name: str, content: bytes, tmp_path: Path
) -> None:
    (tmp_path / name).write_bytes(content)
    (tmp_path / f"link-{name}").symlink_to(name)
    assert read_state(tmp_path / f"link-{name}")["weight"].equal(WEIGHTS["weight"])
