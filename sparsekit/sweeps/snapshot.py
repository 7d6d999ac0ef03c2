"""Which code a sweep was started with, and a copy of it where one is asked for."""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from sparsekit.configuration.compose import CONFIGS
from sparsekit.store.source import own_modules
from sparsekit.system.files import sync

PACKAGE = Path(__file__).parent.parent
MAX_FILES = 2000
OTHERS = ("__pycache__", "node_modules", "site-packages")
ENVIRONMENT = "pyvenv.cfg"
LOCAL = "local"


def provenance() -> dict[str, Any]:
    """Return the commit of this package's code, and whether it was changed; None outside git."""
    commit = _git(PACKAGE, "rev-parse", "HEAD")
    changed = _git(PACKAGE, "status", "--porcelain", "--", str(PACKAGE))
    is_changed = None if changed is None else bool(changed)
    return {"commit": commit and commit.strip(), "changed": is_changed}


def take_snapshot(folder: Path, *, store: Path) -> Path:
    """Copy the code into a new folder in `folder`, and return that.

    It holds this package with its configurations, and the user's own code: the Python files of
    the folder from which the sweep is started, as far as git tracks them or would, or all of them
    where git knows nothing of that folder; and every module of theirs that this process has
    imported, wherever it lies. Nothing of the `store` is copied.

    ValueError for a folder without git that holds more than a project does, and for a path that
    Python could not be told of.
    """
    if os.pathsep in str(folder):
        raise ValueError(f"{folder} has a {os.pathsep!r} in it, as no folder in PYTHONPATH can")
    place = folder / time.strftime("%Y%m%d-%H%M%S")
    fresh = folder / f".{place.name}.new"
    shutil.rmtree(fresh, ignore_errors=True)
    for path in _files_of(Path.cwd(), store):
        _copy(path, fresh / path.relative_to(Path.cwd()))
    for name, file in own_modules().items():
        for path, target in _with_its_package(name, file, store):
            _copy(path, fresh / target)
    shutil.copytree(PACKAGE, fresh / PACKAGE.name, dirs_exist_ok=True, ignore=_caches)
    if not CONFIGS.is_relative_to(PACKAGE):
        shutil.copytree(CONFIGS, fresh / CONFIGS.name, dirs_exist_ok=True, ignore=_of_this_user)
    shutil.rmtree(place, ignore_errors=True)
    for path in (*fresh.rglob("*"), fresh):
        sync(path)
    fresh.rename(place)
    sync(folder)
    return place


def _copy(path: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(path, target)
    target.chmod(stat.S_IMODE(path.stat().st_mode) | stat.S_IWUSR)  # what is private stays so


def _files_of(folder: Path, store: Path) -> list[Path]:
    """Find the Python files below a folder that are the user's own."""
    listed = _git(folder, "ls-files", "-z", "--cached", "--others", "--exclude-standard", "*.py")
    if listed is None:
        files = list(_walked(folder, store))
    else:
        names = [name for name in listed.split("\0") if name]
        files = [folder / name for name in names if not any(map(_is_others, Path(name).parts))]
    return [path for path in files if path.is_file() and not path.is_relative_to(store)]


def _walked(folder: Path, store: Path) -> Iterator[Path]:
    num_files = 0
    for place, folders, names in os.walk(folder):
        here = Path(place)
        folders[:] = [
            name for name in folders
            if not _is_others(name) and here / name != store
            and not (here / name / ENVIRONMENT).exists()
        ]  # fmt: skip
        found = [here / name for name in names if name.endswith(".py")]
        num_files += len(found)
        if num_files > MAX_FILES:
            raise ValueError(
                f"{folder} is no folder of git and holds more than {MAX_FILES} Python files: "
                "start the sweep from the folder of your code, or put that under git"
            )
        yield from found


def _is_others(name: str) -> bool:
    return name.startswith(".") or name in OTHERS


def _with_its_package(name: str, file: Path, store: Path) -> Iterator[tuple[Path, Path]]:
    """Yield the files of a module, or of a whole package, each with its place in the copy.

    What a package imports only when a run needs it is not among the imported modules.
    """
    *parents, last = name.split(".")
    is_package = file.name == "__init__.py"
    if not is_package:
        yield file, Path(*parents, last + "".join(file.suffixes))
        return
    for path in _walked(file.parent, store):
        yield path, Path(*parents, last) / path.relative_to(file.parent)


def _of_this_user(folder: str, names: list[str]) -> list[str]:
    """Leave out the settings that no run reads again, such as how jobs log in somewhere."""
    return [name for name in names if name == LOCAL and Path(folder) == CONFIGS]


def _caches(folder: str, names: list[str]) -> list[str]:
    return [name for name in names if name == "__pycache__"]


def _git(folder: Path, *arguments: str) -> str | None:
    """Return what git says; None where there is none, or it refuses to look at the folder."""
    try:
        done = subprocess.run(
            ["git", "-C", str(folder), *arguments], capture_output=True, text=True, check=False
        )
    except OSError:
        return None
    return done.stdout if done.returncode == 0 else None
