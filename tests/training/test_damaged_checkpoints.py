"""A checkpoint that is not what the fit saved is moved aside, and the fit begins again."""

from __future__ import annotations

import io
import logging
import os
import pickle
import shutil
import signal
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from sparsekit.report.compare import differences
from sparsekit.runs.runner import PreparedRun, run_prepared
from sparsekit.store.store import Store
from sparsekit.system.files import Damaged
from sparsekit.training.checkpoint_files import (
    FIT,
    LAST,
    DamagedCheckpoint,
    begin_again,
    checkpoint_of,
    read_checkpoint,
    write_checkpoint,
)
from tests.system.processes import ended
from tests.training.lives import STOPPED, life, watched

SIGN = "sign-of-a-pickle"
FLIPPED = (0.001, 0.01, 0.1, 0.3, 0.5, 0.7, 0.9, 0.99, 0.999)
CONTENT = {"step": 3, "model": {"weight": torch.arange(10_000.0), "bias": torch.ones(3)}}


class Bomb:
    """Unpickled, it leaves a folder behind."""

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[str]]:
        return os.mkdir, (SIGN,)


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """In a folder of its own, where no pickle leaves a sign."""
    monkeypatch.chdir(tmp_path)
    yield
    assert not Path(SIGN).exists()


def flip(place: float) -> Callable[[Path], None]:
    """Change one bit."""

    def change(path: Path) -> None:
        content = bytearray(path.read_bytes())
        content[int(place * len(content))] ^= 4
        path.write_bytes(content)

    return change


def cut(num: int) -> Callable[[Path], None]:
    return lambda path: os.truncate(path, path.stat().st_size - num)


def half(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


def of(content: Callable[[bytes], bytes]) -> Callable[[Path], None]:
    def write(path: Path) -> None:
        before = path.read_bytes()
        path.unlink()
        path.write_bytes(content(before))

    return write


def saved(content: Any) -> bytes:
    file = io.BytesIO()
    torch.save(content, file)
    return file.getvalue()


def packed(path: Path) -> None:
    """Write an archive of a hundred kilobytes that unpacks to a hundred megabytes."""
    archive = zipfile.ZipFile(io.BytesIO(saved({"step": 3, "model": torch.ones(9)})))
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as new:
        for part in archive.infolist():
            new.writestr(part.filename, archive.read(part.filename))
        new.writestr("archive/data/1", bytes(100_000_000))


def instead(make: Callable[[Path], object]) -> Callable[[Path], None]:
    def replace(path: Path) -> None:
        path.rename(path.with_name("before"))
        make(path)

    return replace


def sparse(path: Path) -> None:
    path.touch()
    os.truncate(path, 2**40)


DAMAGE: dict[str, Callable[[Path], object]] = {
    **{f"a bit at {place}": flip(place) for place in FLIPPED},
    "empty": of(lambda _: b""),
    "half": half,
    "a byte short": cut(1),
    "without its digest": cut(48),
    "a byte more": of(lambda before: before + b"x"),
    "a byte more in front": of(lambda before: b"x" + before),
    "zeros": of(lambda before: bytes(len(before))),
    "noise": of(lambda _: os.urandom(4000)),
    "text": of(lambda _: b"<html>not found</html>"),
    "a pickle": of(lambda _: pickle.dumps(Bomb())),
    "a pickle in an archive": of(lambda _: saved({"step": 3, "model": Bomb()})),
    "a whole module": of(lambda _: saved(torch.nn.Linear(2, 2))),
    "a list": of(lambda _: saved([1, 2])),
    "packed": packed,
    "a pipe": instead(os.mkfifo),
    "a folder": instead(Path.mkdir),
    "a link": instead(lambda path: path.symlink_to("before")),
    "a link to itself": instead(lambda path: path.symlink_to(path)),
    "a device": instead(lambda path: path.symlink_to("/dev/zero")),
    "a terabyte": instead(sparse),
}


@pytest.mark.parametrize("how", DAMAGE)
def test_what_was_not_saved_so_is_noticed(how: str, tmp_path: Path) -> None:
    write_checkpoint(tmp_path / LAST, CONTENT)
    assert read_checkpoint(tmp_path) is not None
    DAMAGE[how](tmp_path / LAST)
    with pytest.raises(DamagedCheckpoint) as caught:
        read_checkpoint(tmp_path)
    assert str(tmp_path / LAST) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_checkpoints_of_earlier_releases_end_without_a_digest(tmp_path: Path) -> None:
    torch.save(CONTENT, tmp_path / LAST)
    found = read_checkpoint(tmp_path)
    assert found is not None
    assert found["model"]["weight"].equal(CONTENT["model"]["weight"])  # type: ignore[index]


START = ({"a": torch.ones(2, 3)}, {"a": torch.ones(2, 3, dtype=torch.bool)})
WHOLE = {
    FIT: "fit-1", "step": 5, "model": START[0], "optimizer": {}, "precision": {},
    "loss_sum": torch.zeros(1), "steps_in_sum": 0, "masking": {"masks": START[1]}, "history": {},
    "average": {}, "strangers": {},
}  # fmt: skip


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({FIT: "fit-2"}, "it is that of 'fit-2'"),
        ({"step": 2}, "step 2 is outside 3 to 9"),
        ({"step": 10}, "step 10 is outside 3 to 9"),
        ({"step": "5"}, "its step is not what a fit saves"),
        ({"optimizer": [1]}, "its optimizer is not what a fit saves"),
        ({"strangers": None}, "its strangers is not"),
        ({"model": {}}, "its weights are not those of the network"),
        ({"model": {"b": torch.ones(2, 3)}}, "its weights are not those"),
        ({"model": {"a": torch.ones(3, 2)}}, "its weights are not those"),
        ({"model": {"a": torch.ones(1).expand(2**20, 2**20)}}, "its weights are not those"),
        ({"model": {"a": 7}}, "its weights are not those"),
        ({"masking": {}}, "its masks are not those of the network"),
        ({"masking": {"masks": {"a": torch.ones(2)}}}, "its masks are not those"),
    ],
)
def test_a_checkpoint_of_another_fit_is_none_of_this(
    changes: dict[str, Any], reason: str, tmp_path: Path
) -> None:
    asked: dict[str, Any] = {"key": "fit-1", "start": START, "steps": (3, 9)}
    write_checkpoint(tmp_path / LAST, WHOLE)
    found = checkpoint_of(tmp_path, **asked)
    assert found is not None
    assert found["step"] == 5
    write_checkpoint(tmp_path / LAST, {**WHOLE, **changes})
    with pytest.raises(DamagedCheckpoint, match=reason):
        checkpoint_of(tmp_path, **asked)


@pytest.fixture(scope="module")
def stopped_once(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Folders of a run that was stopped in its first fit, and of the same run, undisturbed."""
    return {"folder": tmp_path_factory.mktemp("stopped")}


def other_content(**changes: Any) -> Callable[[Path], None]:
    """Save something else in the place of some of what a fit saved, with its digest."""

    def write(path: Path) -> None:
        content = read_checkpoint(path.parent)
        assert content is not None
        write_checkpoint(path, {**content, **changes})

    return write


def kept(path: Path) -> None:
    """Leave it as it is."""


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (kept, None),
        (flip(0.5), "its bytes are not those that were saved"),
        (DAMAGE["a pickle in an archive"], "not a whole file of tensors and plain values"),
        (other_content(fit="fit-0"), "it is that of 'fit-0'"),
        (other_content(history={}), "cannot be restored: 'rows'"),
        (other_content(optimizer={"state": {}, "param_groups": []}), "cannot be restored: loaded"),
    ],
)
def test_the_fit_begins_again_and_arrives_at_the_same_bits(
    spoil: Callable[[Path], None],
    reason: str | None,
    tiny: Callable[..., PreparedRun],
    run_tiny: Callable[..., tuple[Store, list[str]]],
    stopped_once: dict[str, Path],
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    asked = ("method=dense", "train.epochs=1", "runtime.checkpoint_seconds=1000")
    folder = stopped_once["folder"]
    if not (folder / "stopped").exists():
        run_tiny(*asked, store=str(folder / "undisturbed"))
        job = watched(tiny(*asked, store="stopped"), tmp_path, at=5, number=signal.SIGTERM)
        assert ended(life(job)) == STOPPED
        (tmp_path / "stopped").rename(folder / "stopped")
    shutil.copytree(folder / "stopped", tmp_path / "again")
    (path,) = (tmp_path / "again").glob(f"work/fit-*/*/*/{LAST}")
    spoil(path)
    spoiled = path.read_bytes()
    with caplog.at_level(logging.WARNING):
        run_prepared(tiny(*asked, store="again"), "test")
    store = Store(tmp_path / "again")
    assert differences(Store(folder / "undisturbed"), store) == []
    told = [one.message for one in caplog.records if "the fit begins again" in one.message]
    if reason is None:
        assert told == []
        assert not (store.root / "corrupt").exists()
        return
    (line,) = told
    (aside,) = (store.root / "corrupt").iterdir()
    assert LAST in line
    assert reason in line
    assert str(aside) in line
    assert aside.read_bytes() == spoiled


def test_nothing_is_put_aside_behind_a_link(tmp_path: Path) -> None:
    """Somebody hostile could have it moved to wherever this user may write."""
    root, outside = tmp_path / "runs", tmp_path / "outside"
    scratch = root / "work" / "fit-1" / "owner" / "scratch"
    for folder in (scratch, outside):
        folder.mkdir(parents=True)
    (scratch / LAST).write_bytes(b"damaged")
    (root / "corrupt").symlink_to(outside)
    with pytest.raises(Damaged, match="corrupt is a link out of the store"):
        begin_again(lambda: pytest.fail("trained"), scratch, root)
    assert list(outside.iterdir()) == []
    (root / "corrupt").unlink()
    trained = []
    begin_again(lambda: trained.append("anew"), scratch, root)
    assert trained == ["anew"]
    (aside,) = (root / "corrupt").iterdir()
    assert aside.name.startswith(f"fit-1.{LAST}.")
