"""Publishing and verifying: a result is there whole and intact, or it is computed."""

from __future__ import annotations

import ast
import builtins
import io
import json
import logging
import os
import time
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest
import torch

from sparsekit.store import sealing
from sparsekit.store import store as store_module
from sparsekit.store.identity import Stage
from sparsekit.store.store import CorruptResult, Store, seal
from sparsekit.store.tensors import load_network, save_network

STAGE = Stage("fit", {"epochs": 1.5, "text": "ä"}, ("start-0",))
PACKAGE = Path(store_module.__file__).parent.parent


def fill(folder: Path) -> None:
    """A result of two files; scratch does not belong to it."""
    (folder / "numbers.json").write_text('{"loss": 0.125, "step": 7}')
    (folder / "weights.bin").write_bytes(bytes(range(256)))
    (folder / "scratch" / "last.ckpt").write_bytes(b"on the way")


class Counted:
    """`fill`, and how often it was called."""

    def __init__(self, function: Callable[[Path], None] = fill) -> None:
        self.calls = 0
        self.function = function

    def __call__(self, folder: Path) -> None:
        self.calls += 1
        self.function(folder)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "runs")


def left_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir()) if folder.exists() else []


def test_a_stage_is_computed_once_and_published_without_its_scratch(store: Store) -> None:
    compute = Counted()
    assert store.ensure(STAGE, compute) == store.ensure(STAGE, compute) == STAGE.key
    assert compute.calls == 1
    assert left_in(store.path(STAGE.key)) == ["description.json", "numbers.json", "weights.bin"]
    assert left_in(store.root / "work") == []
    assert list(store.keys("fit")) == [STAGE.key]
    assert list(store.keys("ticket")) == []
    description = store.description(STAGE.key)
    assert description["config"] == {"epochs": 1.5, "text": "ä"}
    assert description["inputs"] == ["start-0"]
    assert sorted(description["files"]) == ["numbers.json", "weights.bin"]
    assert store.read(STAGE.key, "numbers.json") == {"loss": 0.125, "step": 7}


def test_nothing_is_visible_before_everything_is_there(store: Store) -> None:
    seen = []

    def look(folder: Path) -> None:
        fill(folder)
        seen.append((store.has(STAGE.key), list(store.keys("fit"))))

    store.ensure(STAGE, look)
    assert seen == [(False, [])]
    assert store.has(STAGE.key)


@pytest.mark.parametrize("error", [ValueError("no"), KeyboardInterrupt(), SystemExit(3)])
def test_a_compute_that_raises_frees_the_claim_and_keeps_its_scratch(
    store: Store, error: BaseException
) -> None:
    found = []

    def break_down(folder: Path) -> None:
        fill(folder)
        raise error

    def go_on(folder: Path) -> None:
        found.extend(left_in(folder) + left_in(folder / "scratch"))
        found.append((folder / "scratch" / "last.ckpt").read_bytes())
        fill(folder)

    with pytest.raises(type(error)):
        store.ensure(STAGE, break_down)
    assert not store.has(STAGE.key)
    store.ensure(STAGE, go_on)
    assert found == ["heartbeat", "scratch", "last.ckpt", b"on the way"]


@pytest.mark.parametrize(
    ("module", "name"),
    [(store_module, "seal"), (sealing, "write_json"), (sealing, "sync")],
)
def test_a_publication_that_fails_can_be_tried_again(
    store: Store, monkeypatch: pytest.MonkeyPatch, module: ModuleType, name: str
) -> None:
    def full(*_: object) -> None:
        raise OSError("no space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(module, name, full)
        with pytest.raises(OSError, match="no space left"):
            store.ensure(STAGE, fill)
    assert store.ensure(STAGE, Counted()) == STAGE.key
    assert store.has(STAGE.key)


def test_a_rename_that_fails_can_be_tried_again(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    rename = os.rename

    def refuse(source: Path, target: Path) -> None:
        if "stages" in str(target):
            raise PermissionError("read-only")
        rename(source, target)

    with monkeypatch.context() as patch:
        patch.setattr(os, "rename", refuse)
        with pytest.raises(PermissionError):
            store.ensure(STAGE, fill)
    compute = Counted()
    store.ensure(STAGE, compute)
    assert compute.calls == 1
    assert not (store.root / "corrupt").exists()


def test_an_empty_leftover_folder_is_no_obstacle(store: Store) -> None:
    (store.root / "work" / STAGE.key).mkdir(parents=True)
    store.path(STAGE.key).parent.mkdir(parents=True)
    assert store.ensure(STAGE, fill) == STAGE.key
    assert left_in(store.root / "work") == []


def test_an_empty_published_folder_is_no_result(store: Store) -> None:
    store.path(STAGE.key).mkdir(parents=True)
    compute = Counted()
    store.ensure(STAGE, compute)
    assert compute.calls == 1
    assert store.has(STAGE.key)


def flip(position: int) -> Callable[[Path], None]:
    def damage(path: Path) -> None:
        content = bytearray(path.read_bytes())
        content[position] ^= 1
        path.write_bytes(content)

    return damage


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


def lengthen(path: Path) -> None:
    path.write_bytes(path.read_bytes() + b"\n")


def empty(path: Path) -> None:
    path.write_bytes(b"")


def replace_by_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


DAMAGES = {
    "first byte": flip(0),
    "some byte": flip(40),
    "last byte": flip(-1),
    "truncated": truncate,
    "longer": lengthen,
    "empty": empty,
    "missing": Path.unlink,
    "folder": replace_by_folder,
}
FILES = ("description.json", "numbers.json", "weights.bin")


def assert_repaired(store: Store, caplog: pytest.LogCaptureFixture) -> None:
    compute = Counted()
    with caplog.at_level(logging.WARNING):
        assert store.ensure(STAGE, compute) == STAGE.key
    assert compute.calls == 1
    assert "put aside and computed again" in caplog.text
    assert len(left_in(store.root / "corrupt")) == 1
    assert store.read(STAGE.key, "numbers.json") == {"loss": 0.125, "step": 7}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
@pytest.mark.parametrize("name", FILES)
def test_damage_to_any_file_is_detected_and_repaired(
    store: Store, caplog: pytest.LogCaptureFixture, name: str, damage: Callable[[Path], None]
) -> None:
    store.ensure(STAGE, fill)
    if name == "numbers.json" and damage is DAMAGES["some byte"]:
        damage = flip(10)
    damage(store.path(STAGE.key) / name)
    assert_repaired(store, caplog)


def test_every_single_byte_of_a_description_counts(store: Store) -> None:
    store.ensure(STAGE, fill)
    path = store.path(STAGE.key) / "description.json"
    content = path.read_bytes()
    for position in range(len(content)):
        damaged = bytearray(content)
        damaged[position] ^= 1 << position % 8
        path.write_bytes(damaged)
        with pytest.raises(CorruptResult):
            store.description(STAGE.key)
    path.write_bytes(content)
    assert store.has(STAGE.key)


EDITS = [
    ("config", {"epochs": 2.5, "text": "ä"}),
    ("inputs", []),
    ("version", 2),
    ("kind", "ticket"),
    ("key", "fit-0"),
    ("files", {}),
    ("provenance", {"session": "other"}),
    ("checksum", "0" * 64),
    ("more", 1),
]


@pytest.mark.parametrize(("name", "value"), EDITS, ids=[name for name, _ in EDITS])
def test_edits_that_keep_valid_json_are_detected(
    store: Store, caplog: pytest.LogCaptureFixture, name: str, value: object
) -> None:
    store.ensure(STAGE, fill)
    path = store.path(STAGE.key) / "description.json"
    body = {**json.loads(path.read_text()), name: value}
    path.write_text(json.dumps(body, indent=1, sort_keys=True) + "\n")
    assert_repaired(store, caplog)


@pytest.mark.parametrize("text", ["[]", "null", '"text"', "{}", '{"checksum": 1}', "\ufeff{}"])
def test_other_json_in_place_of_a_description_is_detected(
    store: Store, caplog: pytest.LogCaptureFixture, text: str
) -> None:
    store.ensure(STAGE, fill)
    (store.path(STAGE.key) / "description.json").write_text(text)
    assert_repaired(store, caplog)


def test_a_whole_result_in_a_wrong_place_is_detected(store: Store) -> None:
    other = Stage("fit", {"epochs": 2})
    store.ensure(other, fill)
    store.path(other.key).rename(store.path(STAGE.key))
    compute = Counted()
    store.ensure(STAGE, compute)
    assert compute.calls == 1


def test_what_cannot_be_read_for_other_reasons_is_no_corruption(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.ensure(STAGE, fill)

    def forbidden(path: Path) -> str:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(sealing, "checksum", forbidden)
    with pytest.raises(PermissionError):
        store.ensure(STAGE, Counted())
    assert left_in(store.root / "corrupt") == []
    assert store.path(STAGE.key).exists()


def test_a_result_that_never_passes_its_checksums_is_an_error(store: Store) -> None:
    def unsteady(folder: Path) -> None:
        fill(folder)
        os.link(folder / "numbers.json", store.root / f"outside.{time.monotonic_ns()}")

    class Disk(Store):
        def has(self, key: str) -> bool:
            for path in self.root.glob("outside.*"):
                path.write_text("changed behind our back")
                path.unlink()
            return super().has(key)

    with pytest.raises(CorruptResult, match="3 times in a row"):
        Disk(store.root).ensure(STAGE, unsteady)


def test_damage_after_ensure_is_found_by_whoever_reads(store: Store) -> None:
    store.ensure(STAGE, fill)
    flip(10)(store.path(STAGE.key) / "numbers.json")
    with pytest.raises(CorruptResult, match=r"checksum mismatch in numbers\.json"):
        store.read(STAGE.key, "numbers.json")
    (store.path(STAGE.key) / "weights.bin").unlink()
    with pytest.raises(CorruptResult, match=r"weights\.bin is missing"):
        store.content(STAGE.key, "weights.bin")
    flip(10)(store.path(STAGE.key) / "description.json")
    with pytest.raises(CorruptResult, match="description"):
        store.description(STAGE.key)


def test_what_was_never_there_is_said_to_be_missing(store: Store) -> None:
    with pytest.raises(FileNotFoundError, match=r"fit-0 is not in the store .*runs"):
        store.description("fit-0")
    store.ensure(STAGE, fill)
    with pytest.raises(FileNotFoundError, match=r"has no file 'other\.json'"):
        store.read(STAGE.key, "other.json")


def test_somebody_elses_repair_is_not_put_aside(store: Store) -> None:
    store.ensure(STAGE, fill)
    store._put_aside(STAGE.key)
    assert store.has(STAGE.key)
    assert left_in(store.root / "corrupt") == []
    store._put_aside("fit-0")


@pytest.fixture
def tickets(store: Store) -> tuple[Store, str, str]:
    first, second = Stage("fit", {"epochs": 1}), Stage("ticket", {"epochs": 1}, ("fit-0",))
    state = {"a.weight": torch.arange(6.0).reshape(2, 3).to(memory_format=torch.contiguous_format)}
    masks = {"a.weight": torch.tensor([[True, False, True]] * 2)}
    store.ensure(first, lambda folder: save_network(folder, state=state, masks=masks, network={}))
    store.ensure(
        second,
        lambda folder: save_network(
            folder, state=first.key, masks={"a.weight": ~masks["a.weight"]}, network={}
        ),
    )
    return store, first.key, second.key


def test_tickets_come_back_bit_for_bit_and_follow_references(
    tickets: tuple[Store, str, str],
) -> None:
    store, first, second = tickets
    state, masks = load_network(store, first)
    assert torch.equal(state["a.weight"], torch.arange(6.0).reshape(2, 3))
    assert masks["a.weight"].dtype is torch.bool
    again, other = load_network(store, second)
    assert torch.equal(again["a.weight"], state["a.weight"])
    assert torch.equal(other["a.weight"], ~masks["a.weight"])
    again["a.weight"][0, 0] = 9
    assert load_network(store, first)[0]["a.weight"][0, 0] == 0


@pytest.mark.parametrize("name", ["state.safetensors", "parts.json", "description.json"])
def test_a_ticket_damaged_in_the_middle_of_a_run_is_never_used(
    tickets: tuple[Store, str, str], name: str
) -> None:
    store, first, second = tickets
    flip(-1)(store.path(first) / name)
    with pytest.raises(CorruptResult, match=first):
        load_network(store, second)


@pytest.mark.parametrize("umask", [0o002, 0o022, 0o027, 0o077])
def test_every_file_and_folder_has_what_the_umask_gives(store: Store, umask: int) -> None:
    """Whoever shares a store says by the umask who may read it: tensors are no exception."""
    tensors = {"a.weight": torch.ones(3)}
    before = os.umask(umask)
    try:
        store.ensure(STAGE, lambda f: save_network(f, state=tensors, masks=tensors, network={}))
        store.name("quickstart", "imp-seed0", {"rows": []})
    finally:
        os.umask(before)
    paths = list(store.root.rglob("*"))
    modes = {(path.is_dir(), path.stat().st_mode & 0o777) for path in paths}
    assert modes == {(True, 0o777 & ~umask), (False, 0o666 & ~umask)}
    assert {"state.safetensors", "parts.json"} <= {path.name for path in paths}


def test_ancestors(tickets: tuple[Store, str, str]) -> None:
    store, first, _ = tickets
    child = Stage("start", {}, (first, first))
    store.ensure(child, fill)
    grandchild = Stage("ticket", {}, (child.key, first))
    store.ensure(grandchild, fill)
    assert set(store.ancestors(grandchild.key)) == {first, child.key, grandchild.key}


def test_listing_opens_no_stage(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """Thousands of stages are listed at once; each is read when somebody asks for it."""
    stages = [Stage("fit", {"number": number}) for number in range(200)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda _: None)
        for stage in stages:
            store.path(stage.key).mkdir(parents=True)
            (store.path(stage.key) / "heartbeat").touch()
            seal(stage, store.path(stage.key), 0.0)
    opened: list[object] = []
    real = io.open
    for place in (io, builtins):
        monkeypatch.setattr(place, "open", lambda *a, **b: opened.append(a) or real(*a, **b))
    keys = list(store.keys("fit"))
    assert opened == []
    assert set(keys) == {stage.key for stage in stages}
    assert keys == sorted(keys)
    assert all(store.has(key) for key in keys)
    assert opened


def test_names_point_at_keys(store: Store) -> None:
    path = store.name("quickstart", "imp-seed0", {"rows": [1]})
    assert path == store.root / "named" / "quickstart" / "imp-seed0.json"
    store.name("quickstart", "imp-seed0", {"rows": [1, 2]})
    assert json.loads(path.read_text()) == {"rows": [1, 2]}
    assert left_in(path.parent) == ["imp-seed0.json"]


def _calls(tree: ast.AST) -> list[tuple[str, ast.Call]]:
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call)]
    return [(ast.unparse(call.func), call) for call in calls]


def test_nothing_in_the_package_is_unpickled() -> None:
    """torch.load only with weights_only=True, numpy.load without pickles, no pickle, no eval."""
    unsafe = {"pickle", "cPickle", "dill", "cloudpickle", "joblib", "shelve", "marshal"}
    loads = []
    for file in PACKAGE.rglob("*.py"):
        tree = ast.parse(file.read_text())
        imported = {a.name for n in ast.walk(tree) if isinstance(n, ast.Import) for a in n.names}
        imported |= {n.module for n in ast.walk(tree) if isinstance(n, ast.ImportFrom) and n.module}
        if file.name != "cifar.py":  # the original files, whose sums are known
            assert not unsafe & imported, f"{file} imports {unsafe & imported}"
        for name, call in _calls(tree):
            keywords = {k.arg: ast.unparse(k.value) for k in call.keywords}
            assert name not in ("eval", "exec"), f"{file}: {name}"
            assert name not in ("numpy.load", "np.load") or keywords["allow_pickle"] == "False"
            if name == "torch.load":
                assert keywords.get("weights_only") == "True", file
                loads.append(file.name)
    assert loads == ["archives.py"]
