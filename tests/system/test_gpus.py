"""Which GPUs are visible, by the variable or else the driver; workers see one of them each."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from sparsekit.system import gpus
from sparsekit.system.executors import Failures, workers
from sparsekit.system.gpus import VARIABLE, visible_gpus

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


def written(item: str) -> str:
    Path(item).touch()
    return Path(item).name


def sees(item: str) -> str:
    """The GPUs this process sees; dies first, once, where `item` is a folder."""
    is_late = bool(visible_gpus()) and "torch" in sys.modules
    assert not is_late, "too late for the variable to be sure to count"
    if item and not Path(item, "died").exists():
        Path(item, "died").touch()
        os.kill(os.getpid(), signal.SIGKILL)
    time.sleep(0.2)
    return os.environ.get(VARIABLE, "unset")


@pytest.mark.parametrize("num_items", [1, 2])
def test_more_workers_than_gpus_take_is_a_mistake_before_anything_runs(
    num_items: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(VARIABLE, "0,1")
    items = [str(tmp_path / "a"), str(tmp_path / "b")][:num_items]
    message = "num_workers=5 is more than 2 visible GPUs take with per_gpu=2; start at most 4"
    with pytest.raises(ValueError, match=message):
        workers(written, items, num_workers=5, per_gpu=2)
    assert list(tmp_path.iterdir()) == []
    assert workers(written, [], num_workers=5) == []
    monkeypatch.setenv(VARIABLE, "")
    assert workers(written, items, num_workers=5, per_gpu=2) == ["a", "b"][:num_items]


def test_a_gpu_takes_at_least_one_worker() -> None:
    with pytest.raises(ValueError, match="per_gpu=0 is not positive"):
        workers(written, [], num_workers=1, per_gpu=0)


def test_each_worker_sees_one_gpu_in_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, "3,GPU-7a")
    seen = workers(sees, [""] * 4, num_workers=4, per_gpu=2)
    assert sorted(seen) == ["3", "3", "GPU-7a", "GPU-7a"]
    assert sorted(workers(sees, [""] * 2, num_workers=2)) == ["3", "GPU-7a"]
    assert os.environ[VARIABLE] == "3,GPU-7a"


def test_a_worker_that_replaces_a_dead_one_sees_its_gpu(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(VARIABLE, "5")
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    with pytest.raises(Failures, match="1 of 3 fits failed"):
        workers(sees, [str(tmp_path)] * 3, num_workers=1)
    assert workers(sees, [str(tmp_path)] * 2, num_workers=1) == ["5", "5"]


@pytest.mark.parametrize("value", [None, ""])
def test_without_gpus_nothing_is_set(value: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(VARIABLE, raising=False)
    if value is not None:
        monkeypatch.setenv(VARIABLE, value)
    assert workers(sees, ["", ""], num_workers=2) == ["unset" if value is None else value] * 2
