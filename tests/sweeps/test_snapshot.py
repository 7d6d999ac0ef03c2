"""The copy of the code that jobs run from has all that is the user's own, wherever that lies."""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from sparsekit.run import main
from sparsekit.store import source
from sparsekit.sweeps import snapshot
from sparsekit.sweeps.batch import Refused
from sparsekit.sweeps.freezing import freeze
from sparsekit.sweeps.records import Sweep
from sparsekit.sweeps.slurm import _from_snapshot
from sparsekit.sweeps.snapshot import take_snapshot
from tests.conftest import TINY
from tests.sweeps.asked import asked_for

PROJECT = {
    "top_of_mine.py": "WHAT = 'mine'",
    "parts_of_mine/__init__.py": "",
    "parts_of_mine/later.py": "",
    "größen.py": "",
    ".venv/lib/installed.py": "",
    "env/pyvenv.cfg": "",
    "env/lib/python3.11/installed.py": "",
    "__pycache__/cached.py": "",
    "runs/sweeps/one/code/old/top_of_mine.py": "",
    "data.csv": "",
}
OWN = {"top_of_mine.py", "parts_of_mine/__init__.py", "parts_of_mine/later.py", "größen.py"}


def write(folder: Path, files: Mapping[str, str]) -> None:
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder of somebody's, in which the command is typed; what is imported is forgotten."""
    write(tmp_path / "project", PROJECT)
    monkeypatch.chdir(tmp_path / "project")
    monkeypatch.syspath_prepend(str(tmp_path / "project"))
    before = set(sys.modules)
    monkeypatch.setattr(
        snapshot,
        "own_modules",
        lambda: {n: f for n, f in source.own_modules().items() if n not in before},
    )
    yield tmp_path / "project"
    for name in set(sys.modules) - before:
        del sys.modules[name]


def taken(project: Path) -> set[str]:
    """Python files of a snapshot that are not of this package."""
    store = project / "runs"
    place = take_snapshot(store / "sweeps" / "one" / "code", store=store)
    assert (place / "sparsekit" / "run.py").exists()
    files = {str(path.relative_to(place)) for path in place.rglob("*") if path.is_file()}
    return {name for name in files if not name.startswith(("sparsekit/", "configs/"))}


def git(*arguments: str) -> None:
    subprocess.run(["git", *arguments], check=True, capture_output=True)


def test_outside_of_git_all_that_is_there(project: Path) -> None:
    assert taken(project) == OWN


def test_what_git_tracks_or_would(project: Path) -> None:
    git("init")
    more = {"ignored_by_all.py": "", "ignored_but_imported.py": "", "env/new.py": ""}
    write(project, {".gitignore": "env\nignored_*\n", **more})
    git("add", "top_of_mine.py")
    importlib.import_module("ignored_but_imported")
    assert taken(project) == OWN | {"ignored_but_imported.py"}


def test_git_may_refuse_to_look(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    git("init")
    monkeypatch.setenv("GIT_TEST_ASSUME_DIFFERENT_OWNER", "1")
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", os.devnull)
    assert taken(project) == OWN
    monkeypatch.setenv("PATH", "")
    assert taken(project) == OWN


def test_what_lies_elsewhere_and_was_imported(
    project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    elsewhere = {
        "lone_elsewhere.py": "",
        "unused_elsewhere.py": "",
        "regular_elsewhere/__init__.py": "",
        "regular_elsewhere/when_needed.py": "",
        "spread_elsewhere/models/nets.py": "",
    }
    write(tmp_path / "lib", elsewhere)
    monkeypatch.syspath_prepend(str(tmp_path / "lib"))
    for name in ("lone_elsewhere", "regular_elsewhere", "spread_elsewhere.models.nets"):
        importlib.import_module(name)
    assert taken(project) == OWN | set(elsewhere) - {"unused_elsewhere.py"}


def test_a_job_finds_the_copy_first(project: Path) -> None:
    store = project / "runs"
    place = take_snapshot(freeze(store, "one", asked_for()).folder / "code", store=store)
    sweep: Sweep = freeze(store, "one", asked_for(code={"snapshot": str(place)}))
    write(project, {"top_of_mine.py": "WHAT = 'changed since'"})
    program = "import top_of_mine, sparsekit; print(top_of_mine.WHAT, sparsekit.__file__)"
    script = "\n".join([*_from_snapshot(sweep), f"{sys.executable} -c '{program}'"])
    environment = {**os.environ, "PYTHONPATH": str(project)}
    printed = subprocess.run(
        ["bash", "-c", script], env=environment, check=True, capture_output=True, text=True
    ).stdout
    assert printed.split() == ["mine", str(place / "sparsekit" / "__init__.py")]
    place.rename(place.with_name("elsewhere"))
    with pytest.raises(Refused, match="is missing, the code that one-"):
        _from_snapshot(sweep)


def test_too_much_is_refused_before_anything_is_submitted(
    project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    write(tmp_path / "bin", {"sbatch": f"#!/bin/sh\ntouch {tmp_path}/submitted\n"})
    (tmp_path / "bin" / "sbatch").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")
    monkeypatch.setattr(snapshot, "MAX_FILES", 2)
    asked = [*TINY, "method=dense", "cluster=slurm", "cluster.snapshot=true"]
    assert main([*asked, f"runtime.store={project / 'runs'}"]) == 2
    told = capsys.readouterr().err
    assert f"cluster.snapshot=true: {project} is no folder of git and holds more than 2" in told
    assert main([*asked, f"runtime.store={project / 'a:b'}"]) == 2
    assert "has a ':' in it" in capsys.readouterr().err
    assert not (tmp_path / "submitted").exists()
