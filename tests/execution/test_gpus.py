"""Which GPUs are visible: what the variable says, else what the driver does."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from sparsekit.execution import gpus
from sparsekit.execution.gpus import VARIABLE, visible_gpus

LISTING = """\
GPU 0: NVIDIA A100-SXM4-40GB (UUID: GPU-4404041a-04cf-1ccf-9e70-f139a9b1e23c)
  MIG 3g.20gb     Device  0: (UUID: MIG-6b1a6e3c-4d7d-5b8c-9a37-6a1f6cb50f6c)
GPU 1: NVIDIA A100-SXM4-40GB (UUID: GPU-52c9e2b0-7b8f-2c3e-8c3d-3b1f0c6a9a55)
"""


@pytest.fixture(autouse=True)
def _asked_anew() -> Iterator[None]:
    gpus._of_the_driver.cache_clear()
    yield
    gpus._of_the_driver.cache_clear()


@pytest.mark.parametrize(
    ("value", "visible"),
    [
        ("0", ("0",)),
        ("2, 0", ("2", "0")),
        ("GPU-4404041a,MIG-6b1a6e3c,7", ("GPU-4404041a", "MIG-6b1a6e3c", "7")),
        ("", ()),
        ("-1", ()),
        ("0,-1,1", ("0",)),
        ("NoDevFiles", ()),
    ],
)
def test_the_variable_is_read_as_cuda_reads_it(
    value: str, visible: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(VARIABLE, value)
    assert visible_gpus() == visible


def driver(folder: Path, script: str) -> None:
    command = folder / "nvidia-smi"
    command.write_text(f"#!/bin/sh\n{script}\n")
    command.chmod(0o755)


def test_without_the_variable_the_driver_is_asked_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(VARIABLE, raising=False)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    driver(tmp_path, f"cat <<'END'\n{LISTING}END")
    assert visible_gpus() == ("0", "1")
    driver(tmp_path, "exit 9")
    assert visible_gpus() == ("0", "1")
    gpus._of_the_driver.cache_clear()
    assert visible_gpus() == ()


def test_without_its_command_the_driver_has_a_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(VARIABLE, raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(gpus, "DRIVER", tmp_path / "gpus")
    assert visible_gpus() == ()
    gpus._of_the_driver.cache_clear()
    for bus in ("0000:01:00.0", "0000:02:00.0", "0000:03:00.0"):
        (tmp_path / "gpus" / bus).mkdir(parents=True)
    assert visible_gpus() == ("0", "1", "2")
