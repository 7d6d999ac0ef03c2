"""Observers are told of every step once, of pauses where a fit may be left, and of its end."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from pathlib import Path

import pytest

from sparsekit.configuration.config import ConfigError
from sparsekit.core.fit_spec import FitSpec
from sparsekit.runs.runner import PreparedRun, rehearse_all, run_prepared
from sparsekit.store.store import Store
from sparsekit.training.checkpoint_files import read_checkpoint
from sparsekit.training.observing import Observer, RunningFit

Told = list[tuple[str, int]]
EPOCH = 19  # steps of digits, in batches of 64


def writing(told: Told) -> Observer:
    def note(what: str, fit: RunningFit, error: BaseException | None = None) -> None:
        told.append((what if error is None else f"{what}: {error}", fit.step))

    names = [field.name for field in dataclasses.fields(Observer)]
    return Observer(**{name: functools.partial(note, name) for name in names})


def watched(job: PreparedRun, *observers: Observer) -> PreparedRun:
    makers = tuple((lambda key, spec, scratch, one=one: one) for one in observers)
    return dataclasses.replace(job, observers=makers)


def test_steps_are_told_whole_and_epochs_before_their_pause(
    tiny: Callable[..., PreparedRun],
) -> None:
    """In four pieces of a batch, for one epoch and a part of the next."""
    told: Told = []
    run_prepared(
        watched(tiny("method=dense", "train.epochs=1.2", "train.accumulate=4"), writing(told)),
        "test",
    )
    last = EPOCH + 4
    expected: Told = [("setup", 0), ("start", 0)]
    for step in range(1, last + 1):
        expected.append(("step", step))
        if step in (EPOCH, last):
            expected.append(("epoch", step))
        if step != last:
            expected.append(("pause", step))
    assert told == [*expected, ("end", last)]


def test_observers_are_told_in_their_order_and_of_what_was_raised(
    tiny: Callable[..., PreparedRun],
) -> None:
    told: Told = []

    def fail(fit: RunningFit) -> None:
        if fit.step == 2:
            raise RuntimeError("enough")

    job = watched(tiny("method=dense"), Observer(step=fail), writing(told))
    with pytest.raises(RuntimeError, match="enough"):
        run_prepared(job, "test")
    assert told == [
        ("setup", 0), ("start", 0), ("step", 1), ("pause", 1), ("failure: enough", 2)
    ]  # fmt: skip


def test_what_a_fit_shows_is_what_it_publishes(tiny: Callable[..., PreparedRun]) -> None:
    """Rows of the history, masks and the last validation, also after it went on."""
    seen: list[tuple[list[dict[str, float]], float | None, int]] = []

    def look(fit: RunningFit) -> None:
        num_kept = sum(int(mask.sum()) for mask in fit.masks.values())
        seen.append(([dict(row) for row in fit.rows], fit.validation, num_kept))

    def leave(fit: RunningFit) -> None:
        if fit.step == EPOCH + 2:
            raise RuntimeError("enough")

    asked = ("method=one_shot", "train.epochs=2", "runtime.checkpoint_seconds=0")
    job = watched(tiny(*asked), Observer(pause=leave))
    with pytest.raises(RuntimeError, match="enough"):
        run_prepared(job, "test")
    assert [saved["step"] for saved in _saved(job.store)] == [EPOCH + 2]
    run_prepared(watched(job, Observer(start=look, end=look)), "test")
    history = job.store.read(_sparsest(job.store), "history.json")
    (begun, _, _), (rows, validation, num_kept) = seen[-2:]
    assert len(history) == 2
    assert rows == history
    assert validation == history[-1]["val_accuracy"]
    assert num_kept == history[-1]["num_kept"]
    assert [len(rows) for rows, _, _ in seen] == [1, 2, 0, 2]
    assert begun == []


def _saved(store: Store) -> list[dict[str, int]]:
    scratches = (store.root / "work").glob("fit-*/*/scratch")
    return [saved for saved in map(read_checkpoint, scratches) if saved is not None]


def _sparsest(store: Store) -> str:
    return min(store.keys("fit"), key=lambda key: store.read(key, "history.json")[-1]["num_kept"])


def test_a_logger_that_makes_no_observer_is_refused_in_rehearsal(
    tiny: Callable[..., PreparedRun],
) -> None:
    def make(key: str, spec: FitSpec, scratch: Path) -> Path:
        return scratch

    job = dataclasses.replace(tiny("method=dense"), observers=(make,))  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="made a PosixPath; expected an Observer"):
        rehearse_all([job])
