"""What the system refuses is one line that names the file, and leaves nothing behind."""

from __future__ import annotations

import errno
import os
import resource
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from sparsekit.data.shared_memory import shared_memory
from sparsekit.store.tensors import save_network
from sparsekit.system.executors import inline
from sparsekit.system.files import write_json
from sparsekit.system.refusals import WORDS, refusal_in, require_one_file_system
from sparsekit.training.checkpoint_files import write_checkpoint
from tests import warm
from tests.system.processes import ended, forked
from tests.system.test_executors import two_workers

TENSORS = {"weight": torch.zeros(10_000)}
WRITERS: dict[str, Callable[[Path], None]] = {
    "sweep.json": lambda path: write_json(path, list(range(10_000))),
    "last.ckpt": lambda path: write_checkpoint(path, TENSORS),
    "state.safetensors": lambda path: save_network(
        path.parent, state=TENSORS, masks={}, network={}
    ),
}


def full(item: str) -> str:
    """Fail as on a full disk for items with an x."""
    if "x" in item:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), item)
    return item


@pytest.mark.parametrize("name", WRITERS)
def test_files_that_grow_too_large_are_named(name: str, tmp_path: Path) -> None:
    path = tmp_path / "folder" / name
    path.parent.mkdir()

    def write() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))
        try:
            WRITERS[name](path)
        except OSError as error:
            (tmp_path / "said").write_text(str(refusal_in(error)))

    assert ended(forked(write)) == 0
    assert (tmp_path / "said").read_text() == f"{WORDS[errno.EFBIG]}: {path}"
    assert list(path.parent.iterdir()) == []


def test_what_was_there_stays_when_its_successor_cannot_be_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_json(tmp_path / "a.json", "old")

    def fsync(descriptor: int) -> None:
        raise OSError(errno.EDQUOT, os.strerror(errno.EDQUOT))

    monkeypatch.setattr(os, "fsync", fsync)
    with pytest.raises(OSError, match="quota") as raised:
        write_json(tmp_path / "a.json", "new")
    assert refusal_in(raised.value) == f"the disk quota is used up: {tmp_path / 'a.json'}"
    assert [file.read_text() for file in tmp_path.iterdir()] == ['"old"\n']


@pytest.mark.parametrize("executor", [inline, two_workers], ids=["inline", "workers"])
def test_executors_pass_on_what_the_system_refuses(executor: Callable[..., list[str]]) -> None:
    with warm.spawning_in_threads(), pytest.raises(OSError, match="x2") as raised:
        executor(full, ["a", "x2", "b"])
    assert refusal_in(raised.value) == "no space is left: x2"


@pytest.mark.parametrize(
    "said",
    [
        "DataLoader worker (pid 7) is killed by signal: Bus error. It is possible that dataloader's"
        " workers are out of shared memory. Please try to raise your shared memory limit.",
        "Caught RuntimeError in DataLoader worker process 0.\nOriginal Traceback [...]\n"
        "RuntimeError: unable to write to file </torch_12_34_0>: No space left on device (28)",
        "unable to open shared memory object </torch_12_34_0> in read-write mode: "
        "No space left on device (28)",
    ],
)
def test_full_shared_memory_is_told_from_a_full_disk(said: str) -> None:
    with pytest.raises(OSError, match="/dev/shm") as raised, shared_memory():
        raise RuntimeError(said)
    assert "num_workers=0" in str(refusal_in(raised.value))
    with pytest.raises(RuntimeError, match="other"), shared_memory():
        raise RuntimeError("other")


def test_other_errors_keep_their_tracebacks() -> None:
    assert refusal_in(FileNotFoundError(errno.ENOENT, "gone", "a")) is None
    assert refusal_in(PermissionError(errno.EACCES, "of no file")) is None
    assert refusal_in(RuntimeError("no space left in this message")) is None


def test_a_folder_that_was_removed_under_a_process_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "gone"
    folder.mkdir()
    monkeypatch.chdir(folder)
    folder.rmdir()
    with pytest.raises(FileNotFoundError) as raised:
        os.getcwd()
    assert refusal_in(raised.value) == (
        "the folder from which this was started is not there any more; change to another"
    )
    monkeypatch.chdir(tmp_path)
    assert refusal_in(raised.value) is None


def test_a_store_on_two_file_systems_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("work", "stages/fit", "named"):
        (tmp_path / name).mkdir(parents=True)
    require_one_file_system(tmp_path, ("work", "stages", "stages/*"))
    stat = Path.stat

    def mounted(path: Path, **how: bool) -> os.stat_result:
        found = list(stat(path, **how))
        found[2] += path.name == "fit"
        return os.stat_result(found)

    monkeypatch.setattr(Path, "stat", mounted)
    with pytest.raises(OSError, match="cross-device") as raised:
        require_one_file_system(tmp_path, ("work", "stages", "stages/*"))
    assert refusal_in(raised.value) == f"{WORDS[errno.EXDEV]}: {tmp_path / 'stages' / 'fit'}"
