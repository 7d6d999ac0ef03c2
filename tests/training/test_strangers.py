"""Callbacks of the user's own: they see metrics, are part of the address, and survive a kill."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from sparsekit.configuration.config import ConfigError
from sparsekit.report.compare import differences
from sparsekit.runs.runner import PreparedRun, rehearse_all, run_prepared
from sparsekit.store.store import Store
from tests.conformance.deaths import WITHIN_FITS, run_through_deaths

STOPS = (
    "+callbacks=early_stopping",
    "callbacks.early_stopping.patience=1",
    "callbacks.early_stopping.min_delta=10",
    "train.epochs=6",
)


def test_early_stopping_ends_a_fit_and_is_part_of_its_address(
    run_tiny: Callable[..., tuple[Store, list[str]]],
) -> None:
    """A loss that never falls by 10 is looked at twice."""
    store, (stopped,) = run_tiny("method=dense", *STOPS)
    _, (whole,) = run_tiny("method=dense", "train.epochs=6")
    epochs = [
        store.read(store.description(key)["inputs"][0], "history.json")[-1]["epoch"]
        for key in (stopped, whole)
    ]
    assert epochs == [2, 6]


def test_a_fit_that_stops_early_is_killed_and_stops_at_the_same_place(
    tiny: Callable[..., PreparedRun], tmp_path: Path
) -> None:
    asked = ("method=dense", *STOPS, "runtime.checkpoint_seconds=0")
    plain, killed = tiny(*asked, store="plain"), tiny(*asked, store="killed")
    run_prepared(plain, "test")
    places = run_through_deaths(
        lambda: run_prepared(killed, "test"), tmp_path / "diary", kinds=WITHIN_FITS
    )
    assert any(place.startswith("saved") for place in places)
    assert differences(plain.store, killed.store) == []


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ("callbacks.early_stopping.monitor=val_f1", "tells train_loss, val_loss and val_accuracy"),
        ("train.evaluate_every=2", r"needs train\.evaluate_every=1"),
        ("+callbacks.saves={_target_:lightning.pytorch.callbacks.ModelCheckpoint}", "saves check"),
        ("+callbacks.other={_target_:torch.nn.Identity}", "is a Identity, not a Lightning callb"),
    ],
)
def test_callbacks_that_cannot_work_are_refused(
    asked: str, message: str, tiny: Callable[..., PreparedRun]
) -> None:
    with pytest.raises(ConfigError, match=message):
        rehearse_all([tiny("method=dense", "+callbacks=early_stopping", asked)])
