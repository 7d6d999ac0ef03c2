"""The package from a wheel, with its configurations inside, from any folder."""

from __future__ import annotations

import ctypes
import os
import subprocess
import sys
from pathlib import Path

import pytest

from sparsekit.inference import building

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the wheel's content."""
    folder = tmp_path_factory.mktemp("wheel")
    build = ["-m", "build", "--wheel", "--no-isolation", "--outdir", str(folder), str(ROOT)]
    subprocess.run([sys.executable, *build], check=True, capture_output=True)
    (wheel,) = folder.glob("sparsekit-*.whl")
    unpack = ["-m", "zipfile", "-e", str(wheel), str(folder / "site")]
    subprocess.run([sys.executable, *unpack], check=True)
    return folder / "site"


def python(installed: Path, cwd: Path, *arguments: str) -> str:
    environment = {**os.environ, "PYTHONPATH": str(installed), "WANDB_MODE": "offline"}
    finished = subprocess.run(
        [sys.executable, *arguments],
        cwd=cwd, env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert finished.returncode == 0, finished.stderr
    return finished.stdout


def test_kernels_are_in_the_wheel(installed: Path) -> None:
    built = installed / "sparsekit" / "inference" / "kernels" / "built"
    found = {path.name.split("-")[1]: path for path in built.iterdir()}
    assert sorted(found) == sorted(building.LEVELS)
    for number, level in enumerate(reversed(building.LEVELS)):
        assert found[level].name == building.file_name(level)
        assert ctypes.CDLL(str(found[level])).sparsekit_level() == number


def test_listing_and_a_run_from_the_wheel(installed: Path, tmp_path: Path) -> None:
    where = "import sparsekit.configuration.compose as c; print(c.__file__, c.CONFIGS)"
    assert python(installed, tmp_path, "-c", where).count(str(installed)) == 2
    listing = python(installed, tmp_path, "-m", "sparsekit.run", "--help")
    assert "quickstart" in listing
    # Its process imports everything anew; other tests fork such processes.
    tiny = ["method=random", "model=mlp", "train.epochs=0.1", "logger=none", "cluster=local"]
    printed = python(installed, tmp_path, "-m", "sparsekit.run", *tiny)
    assert "4 stages were computed" in printed
    assert (tmp_path / "runs" / "named" / "custom" / "accuracy.png").stat().st_size > 1000
    assert len(list((tmp_path / "runs" / "pages").glob("custom-*.html"))) == 1
    assert "Random (ERK)" in python(installed, tmp_path, "-m", "sparsekit.report", "runs")
