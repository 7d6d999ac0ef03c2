"""What an export says of itself: `manifest.json`, with the checksum of every file beside it."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load as load_tensors
from torch import Tensor

from sparsekit.inference.files import (
    MOST_JSON,
    MOST_TENSORS,
    DamagedExport,
    parsed,
    read_regular,
)

MANIFEST = "manifest.json"
WHAT = "an exported network of sparsekit"
VERSION = 1
WEIGHTS, LAYOUT, NETWORK, GRAPH = "weights.safetensors", "layout.json", "network.json", "graph.json"
STORED = (WEIGHTS, LAYOUT, NETWORK)
FILES: Mapping[str, tuple[str, ...]] = {
    "condensed": (WEIGHTS, LAYOUT, GRAPH),
    "dense_mask": STORED,
    "csr": STORED,
    "two_four": STORED,
    "bitmap": STORED,
    "delta": STORED,
    "onnx": ("network.onnx",),
    "torch_export": ("network.pt2",),
}
"""The formats, and of which files each consists."""

FIELDS: Mapping[str, type] = {
    "what": str, "version": int, "format": str, "sparsekit": str, "source": str, "settings": dict,
    "inputs": object, "outputs": object, "files": dict, "measured": dict, "checksum": str,
}  # fmt: skip
DIGEST = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class Export:
    """A folder with an export, and its manifest, which is known to have the form of one."""

    folder: Path
    manifest: Mapping[str, Any]

    @property
    def format(self) -> str:
        """Return the name of its format."""
        return str(self.manifest["format"])

    def content(self, name: str) -> bytes:
        """Return the bytes of a file; DamagedExport unless they are those that were written."""
        said = self.manifest["files"][name]
        content = read_regular(self.folder / name, min(said["bytes"], MOST_TENSORS))
        if len(content) != said["bytes"] or digest(content) != said["sha256"]:
            raise DamagedExport(f"{self.folder / name} is not the file that was exported: checksum")
        return content

    def json(self, name: str) -> Any:
        """Return the value of a JSON file; DamagedExport as above, and for what is no JSON."""
        return parsed(self.content(name), self.folder / name)

    def tensors(self, name: str) -> dict[str, Tensor]:
        """Return the tensors of a file of safetensors, on the CPU."""
        content = self.content(name)
        try:
            return load_tensors(content)
        except (SafetensorError, KeyError, TypeError, RuntimeError, ValueError) as error:
            raise DamagedExport(f"{self.folder / name} holds no tensors: {error}") from error

    def verify(self) -> None:
        """Raise DamagedExport unless every file is what was written."""
        for name in self.manifest["files"]:
            self.content(name)


def is_export(folder: Path) -> bool:
    """Say whether a folder claims to be an export."""
    return (folder / MANIFEST).exists()


def open_export(folder: Path) -> Export:
    """Return an export by its manifest, the other files unread; DamagedExport for what is none."""
    path = folder / MANIFEST
    if not folder.is_dir():
        raise DamagedExport(f"{folder} is not a folder")
    manifest = parsed(read_regular(path, MOST_JSON), path)
    try:
        _check(manifest)
    except ValueError as error:
        raise DamagedExport(f"{path}: {error}") from error
    return Export(folder, manifest)


def sealed(manifest: Mapping[str, Any]) -> dict[str, Any]:
    """Return a manifest with its checksum."""
    rest = {name: value for name, value in manifest.items() if name != "checksum"}
    text = json.dumps(rest, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return {**rest, "checksum": digest(text.encode())}


def digest(content: bytes) -> str:
    """Return the SHA-256 of bytes."""
    return hashlib.sha256(content).hexdigest()


def _check(manifest: Any) -> None:
    if not isinstance(manifest, dict) or manifest.get("what") != WHAT:
        raise ValueError(f"expected {WHAT}")
    if manifest.get("version") != VERSION:
        raise ValueError(
            f"it has version {manifest.get('version')!r}, and this release of sparsekit reads "
            f"{VERSION}"
        )
    if set(manifest) != set(FIELDS):
        raise ValueError(f"expected {', '.join(FIELDS)}, got {', '.join(manifest)}")
    for name, kind in FIELDS.items():
        if not isinstance(manifest[name], kind):
            raise ValueError(f"{name} must be a {kind.__name__}, got {manifest[name]!r}")
    if sealed(manifest) != manifest:
        raise ValueError("it was edited: checksum")
    known = FILES.get(manifest["format"])
    if known is None:
        raise ValueError(f"format {manifest['format']!r} is none of {', '.join(FILES)}")
    if set(manifest["files"]) != set(known):
        got = ", ".join(map(repr, manifest["files"]))
        raise ValueError(f"a {manifest['format']} export has {', '.join(known)}, not {got}")
    for name, said in manifest["files"].items():
        _check_file(name, said)


def _check_file(name: str, said: Any) -> None:
    if (
        not isinstance(said, dict)
        or set(said) != {"bytes", "sha256"}
        or type(said["bytes"]) is not int
        or said["bytes"] < 0
        or not DIGEST.fullmatch(str(said["sha256"]))
    ):
        raise ValueError(f"what it says of {name} is neither size nor checksum: {said!r}")
