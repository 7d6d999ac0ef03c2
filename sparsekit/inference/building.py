"""Compiling the kernels: when a wheel is made, or at first use. Standard library only."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

SOURCES = Path(__file__).parent / "kernels"
BUILT = SOURCES / "built"
"""Where the build of a wheel puts libraries."""

LEVELS = {
    "avx512": ["-march=x86-64-v4", "-mprefer-vector-width=512"],
    "avx2": ["-march=x86-64-v3"],
    "portable": [],
}
"""Compiler options of each level of vector instructions, widest first."""

_OPTIONS = [
    *("-std=gnu11", "-O3", "-shared", "-fPIC"),
    *("-ffp-contract=fast", "-fno-math-errno", "-fno-tree-slp-vectorize"),
]


class CannotBuild(RuntimeError):
    """There is no compiler, or it refused."""


def digest() -> str:
    """Return a name for the sources as they are."""
    hashed = hashlib.sha256()
    for path in sorted(SOURCES.glob("*.[ch]")):
        hashed.update(path.name.encode() + path.read_bytes())
    return hashed.hexdigest()[:16]


def file_name(level: str) -> str:
    """Return the file of a level's library."""
    return f"kernels-{level}-{digest()}.so"


def compiler() -> str:
    """Return the C compiler: $CC, else cc, gcc or clang. CannotBuild if there is none."""
    for name in (os.environ.get("CC", ""), "cc", "gcc", "clang"):
        if name and (found := shutil.which(name)):
            return found
    raise CannotBuild("no C compiler: none of $CC, cc, gcc and clang is found")


def build(level: str, folder: Path) -> Path:
    """Compile a level into `folder`, with threads if the compiler has OpenMP; return the library.

    The file appears whole or not at all, whoever else builds it. CannotBuild, with what the
    compiler said, if that fails; OSError for a folder that cannot be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    target = folder / file_name(level)
    handle, name = tempfile.mkstemp(dir=folder, suffix=".so")
    os.close(handle)
    made = Path(name)
    try:
        _compile(level, made)
        made.chmod(0o755)
        made.rename(target)
    finally:
        made.unlink(missing_ok=True)
    return target


def _compile(level: str, target: Path) -> None:
    said = ""
    for threads in (["-fopenmp"], []):
        command = [compiler(), *_OPTIONS, *LEVELS[level], *threads, "-o", str(target)]
        said = _refusal([*command, str(SOURCES / "kernels.c")])
        if not said:
            return
    raise CannotBuild(f"the compiler refused the {level} kernels: {said}")


def _refusal(command: Sequence[str]) -> str:
    """Return what the compiler complained of; nothing if it did what it should."""
    try:
        run = subprocess.run(command, capture_output=True, text=True, check=False)
    except OSError as error:
        return str(error)
    return "" if run.returncode == 0 else (run.stderr.strip() or f"exit code {run.returncode}")
