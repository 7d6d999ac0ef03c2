"""Which code a sweep was started with, and a copy of it where one is asked for."""

from __future__ import annotations

import shutil
import subprocess
import time
from pathlib import Path
from typing import Any

from sparsekit.configuration.compose import CONFIGS

PACKAGE = Path(__file__).parent.parent


def provenance() -> dict[str, Any]:
    """Return the commit of this package's code, and whether it was changed; None outside git."""
    commit = _git(PACKAGE, "rev-parse", "HEAD")
    changed = _git(PACKAGE, "status", "--porcelain", "--", str(PACKAGE))
    return {"commit": commit, "changed": None if changed is None else bool(changed)}


def take_snapshot(folder: Path) -> Path:
    """Copy the code into a new folder in `folder`, and return that.

    It holds this package with its configurations, and the Python files of the folder from which the
    sweep is started that git tracks or would track.
    """
    place = folder / time.strftime("%Y%m%d-%H%M%S")
    fresh = folder / f".{place.name}.new"
    for path in _own_files(Path.cwd()):
        target = fresh / path
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, target)
    shutil.copytree(PACKAGE, fresh / PACKAGE.name, dirs_exist_ok=True, ignore=_ignored)
    if not CONFIGS.is_relative_to(PACKAGE):
        shutil.copytree(CONFIGS, fresh / CONFIGS.name, dirs_exist_ok=True)
    shutil.rmtree(place, ignore_errors=True)
    fresh.rename(place)
    return place


def _own_files(folder: Path) -> list[Path]:
    listed = _git(folder, "ls-files", "--cached", "--others", "--exclude-standard", "*.py")
    return [Path(line) for line in (listed or "").splitlines() if Path(line).is_file()]


def _ignored(folder: str, names: list[str]) -> list[str]:
    return [name for name in names if name == "__pycache__"]


def _git(folder: Path, *arguments: str) -> str | None:
    try:
        done = subprocess.run(
            ["git", "-C", str(folder), *arguments], capture_output=True, text=True, check=False
        )
    except OSError:
        return None
    return done.stdout.strip() if done.returncode == 0 else None
