"""What a person has at hand of a result leads to its stage, or to an answer that helps."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from sparsekit.store.identity import Stage
from sparsekit.store.references import locate
from sparsekit.store.store import Store
from sparsekit.system.files import write_json

TICKETS = [Stage("ticket", {"cycle": cycle}) for cycle in range(3)]
KEYS = [stage.key for stage in TICKETS]


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    """Three tickets and the record of their run, of which the last cycle is not a result."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("SPARSEKIT_STORE", raising=False)
    store = Store(tmp_path / "runs")
    for stage in TICKETS:
        store.ensure(stage, lambda folder: write_json(folder / "a.json", 1))
    rows = [
        {"cycle": cycle, "sparsity": 0.5, "ticket": key, "is_result": cycle < 2}
        for cycle, key in enumerate(KEYS)
    ]
    about = {"experiment": "quickstart", "choices": {"method": "imp"}, "overrides": [], "seed": 0}
    record = {**about, "variant": "v", "status": "running"}
    store.name("quickstart", "run", {**record, "rows": rows})
    store.name("quickstart", "early", {**record, "rows": []})
    return store


def found(*arguments: Any, **settings: Any) -> tuple[Path, str]:
    store, key = locate(*arguments, **settings)
    assert store.path(key).is_dir()
    return store.root.resolve(), key


def test_keys(store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert found(KEYS[0]) == (store.root, KEYS[0])
    monkeypatch.chdir("/")
    assert found(KEYS[0], store=str(store.root)) == (store.root, KEYS[0])
    with pytest.raises(FileNotFoundError, match="/runs is not a store: it is not there; set store"):
        locate(KEYS[0])
    monkeypatch.setenv("SPARSEKIT_STORE", str(store.root))
    assert found(KEYS[0]) == (store.root, KEYS[0])
    with pytest.raises(FileNotFoundError, match="not a store: it has no stages/"):
        locate(KEYS[0], store=tmp_path)


def test_folders_and_links_to_them(store: Store, tmp_path: Path) -> None:
    folder = store.path(KEYS[1])
    (tmp_path / "best").symlink_to(folder)
    for path in (
        folder,
        str(folder),
        f"runs/stages/ticket/{KEYS[1]}/",
        "best/.",
        tmp_path / "best",
    ):
        assert found(path) == (store.root, KEYS[1])


def test_a_kind_that_is_a_link_out_of_the_store(store: Store, tmp_path: Path) -> None:
    (store.root / "stages" / "ticket").rename(tmp_path / "elsewhere")
    (store.root / "stages" / "ticket").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(ValueError, match="stages/ticket is a link out of the store"):
        locate(store.path(KEYS[1]))
    with pytest.raises(ValueError, match="stages/ticket is a link out of the store"):
        store.has(KEYS[1])


def test_a_store_on_another_disk(store: Store, tmp_path: Path) -> None:
    (tmp_path / "big").mkdir()
    store.root.rename(tmp_path / "big" / "runs")
    store.root.symlink_to(tmp_path / "big" / "runs")
    assert found(KEYS[1]) == (tmp_path / "big" / "runs", KEYS[1])
    assert store.has(KEYS[1])


def test_records(store: Store) -> None:
    record = store.root / "named" / "quickstart" / "run.json"
    assert found(record) == found(str(record)) == (store.root, KEYS[1])
    assert [found(record, cycle=cycle)[1] for cycle in range(3)] == KEYS
    with pytest.raises(ValueError, match=r"has no cycle 3; its finished cycles: 0, 1, 2"):
        locate(record, cycle=3)
    with pytest.raises(ValueError, match=r"early.json has no result; its finished cycles: none"):
        locate(record.with_name("early.json"))


def test_rows(store: Store, tmp_path: Path) -> None:
    row = {"store": str(store.root), "ticket": KEYS[2], "seed": 0}
    assert found(row) == (store.root, KEYS[2])
    store.root.rename(tmp_path / "moved")
    assert found(row, store=tmp_path / "moved") == (tmp_path / "moved", KEYS[2])


def test_unknown_keys_name_the_nearest(store: Store) -> None:
    with pytest.raises(LookupError, match=f"is not in the store .*/runs; nearest: {KEYS[0]}$"):
        locate(KEYS[0][:12])
    wrong = KEYS[0][:-1] + ("0" if KEYS[0][-1] != "0" else "1")
    with pytest.raises(LookupError, match=f"nearest: {KEYS[0]}"):
        locate(wrong)
    with pytest.raises(LookupError, match=r"'best' is not in .*; it holds 3 tickets"):
        locate("best")


@pytest.mark.parametrize(
    ("path", "answer"),
    [
        ("runs", "neither the folder of a stage .* nor a record"),
        ("runs/stages/ticket", "neither the folder of a stage"),
        ("runs/named", "neither the folder of a stage"),
        (f"runs/stages/ticket/{KEYS[0]}/a.json", "is not a record of a run"),
    ],
)
def test_paths_that_are_something_else(store: Store, path: str, answer: str) -> None:
    with pytest.raises(ValueError, match=answer):
        locate(path)


@pytest.mark.parametrize("path", ["runs/named/quickstart/rnu.json", "rnu.json", "/nowhere/at/all"])
def test_paths_that_are_not_there(store: Store, path: str) -> None:
    with pytest.raises(FileNotFoundError, match=f"{path} does not exist"):
        locate(path)


def test_a_record_outside_of_stores(store: Store, tmp_path: Path) -> None:
    record = (store.root / "named" / "quickstart" / "run.json").rename(tmp_path / "run.json")
    with pytest.raises(FileNotFoundError, match="lies in no store"):
        locate(record)


def test_a_record_of_what_is_gone(store: Store, tmp_path: Path) -> None:
    store.path(KEYS[1]).rename(tmp_path / "gone")
    with pytest.raises(LookupError, match=f"'{KEYS[1]}' is not in the store"):
        locate(store.root / "named" / "quickstart" / "run.json")


def test_settings_that_would_be_ignored(store: Store) -> None:
    with pytest.raises(ValueError, match=r"cycle=1 means nothing for 'ticket-.*: only records"):
        locate(KEYS[0], cycle=1)
    with pytest.raises(ValueError, match="cycle=0 means nothing"):
        locate(store.path(KEYS[0]), cycle=0)
    with pytest.raises(ValueError, match="store='runs' means nothing"):
        locate(store.path(KEYS[0]), store="runs")


@pytest.mark.parametrize("reference", [None, 3, [], {}, {"ticket": "x"}, ["ticket-0", "ticket-1"]])
def test_what_names_nothing(store: Store, reference: Any) -> None:
    with pytest.raises(ValueError, match="expected a key, a path or a row"):
        locate(reference)
