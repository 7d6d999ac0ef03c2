"""Whether the results that a record names are there."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from sparsekit.store.identity import Stage
from sparsekit.store.results import missing_results, stages_behind
from sparsekit.store.store import Store


def written(folder: Path) -> None:
    (folder / "result.json").write_text("{}")


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path)


@pytest.fixture
def keys(store: Store) -> list[str]:
    """An init, a fit of it, a ticket of that, and a study of the ticket."""
    made: list[str] = []
    for kind in ("init", "fit", "ticket", "study"):
        made.append(store.ensure(Stage(kind, {}, tuple(made[-1:])), written))
    return made


def rows(keys: list[str]) -> list[dict[str, object]]:
    return [{"ticket": keys[2], "studies": {"barrier": keys[3]}}]


def test_all_that_results_were_made_from_is_named(store: Store, keys: list[str]) -> None:
    assert stages_behind(store, rows(keys)) == sorted(keys)


def test_what_was_gone_before_they_were_finished_is_not_counted_on(
    store: Store, keys: list[str]
) -> None:
    shutil.rmtree(store.path(keys[0]))
    assert stages_behind(store, rows(keys)) == sorted(keys[1:])


@pytest.mark.parametrize("index", range(4))
@pytest.mark.parametrize("how", ["removed", "emptied"])
def test_any_of_them_is_missed(store: Store, keys: list[str], index: int, how: str) -> None:
    record = {"rows": rows(keys), "stages": stages_behind(store, rows(keys))}
    assert missing_results(store.root, record) == []
    shutil.rmtree(store.path(keys[index]))
    if how == "emptied":
        store.path(keys[index]).mkdir()
    assert missing_results(store.root, record) == [keys[index]]


def test_records_of_earlier_releases_name_results_only(store: Store, keys: list[str]) -> None:
    for key in keys:
        shutil.rmtree(store.path(key))
    assert missing_results(store.root, {"rows": rows(keys)}) == keys[2:]
