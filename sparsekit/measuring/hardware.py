"""The machine that was measured: processor, what it can do at once, caches, versions."""

from __future__ import annotations

import functools
import os
from importlib import metadata
from pathlib import Path

from sparsekit.system.machine import PROCESSOR, machine

CACHES = Path("/sys/devices/system/cpu/cpu0/cache")
EXTENSIONS = {
    "avx2": "AVX2",
    "avx512f": "AVX-512",
    "avx512_bf16": "AVX-512 BF16",
    "amx_bf16": "AMX BF16",
    "asimd": "NEON",
    "sve": "SVE",
}
"""What the kernel calls the extensions that matter to matrix products, and what people do."""
PACKAGES = ("torch", "onnxruntime")


def extensions(text: str) -> list[str]:
    """Return the vector extensions that a text like /proc/cpuinfo names.

    >>> extensions("flags : fpu avx2 avx512f")
    ['AVX2', 'AVX-512']
    """
    flags: set[str] = set()
    for line in text.splitlines():
        name, _, value = line.partition(":")
        if name.strip() in ("flags", "Features"):
            flags.update(value.split())
    return [shown for name, shown in EXTENSIONS.items() if name in flags]


def caches(folder: Path = CACHES) -> dict[str, str]:
    """Return the sizes of the caches that core 0 reads data through, {} where they are not told."""
    found = {}
    for index in sorted(folder.glob("index*")):
        try:
            level, kind, size = ((index / name).read_text().strip() for name in _FACTS)
        except OSError:
            continue
        if kind != "Instruction":
            found[f"L{level}"] = _readable(size)
    return found


_FACTS = ("level", "type", "size")


def _readable(size: str) -> str:
    """Write the kernel's "491520K" as people do.

    >>> _readable("491520K"), _readable("48K")
    ('480 MB', '48 KB')
    """
    number = int(size.rstrip("K"))
    return f"{number // 1024} MB" if number >= 1024 else f"{number} KB"


@functools.cache
def hardware() -> str:
    """Return processor, cores, vector extensions and caches, in one line."""
    here = machine()
    text = PROCESSOR.read_text(errors="replace") if PROCESSOR.exists() else ""
    held = ", ".join(f"{level} {size}" for level, size in caches().items())
    facts = [f"{here['cpu']}, {here['cores']}", *extensions(text), held]
    return ", ".join(fact for fact in facts if fact)


def versions() -> str:
    """Return the versions of what is compared, in one line."""
    return ", ".join(f"{name} {_version(name)}" for name in PACKAGES)


def _version(name: str) -> str:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return "not installed"


def load() -> str:
    """Return how busy the machine was in the last minute, as far as it tells."""
    return f"load {os.getloadavg()[0]:.1f}" if hasattr(os, "getloadavg") else "load unknown"
