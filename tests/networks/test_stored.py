"""A stored network is a plain module with its masks, or an answer that says why it is not."""

from __future__ import annotations

import hashlib
import importlib
import json
import pickle
import subprocess
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import sparsekit
from sparsekit.core.prune import apply
from sparsekit.models.lenet import mlp
from sparsekit.networks.network import Network
from sparsekit.networks.removal import remove_masked_channels
from sparsekit.store.identity import Stage, canonical, describe
from sparsekit.store.sealing import CorruptResult
from sparsekit.store.source import source_digest
from sparsekit.store.store import Store
from sparsekit.store.tensors import save_network
from sparsekit.system.files import checksum, write_json
from tests.networks.networks import drawn_state, masks_with_empty_rows, network

MLP = network(mlp, 1, 8, 8)
OWN = """
from torch import nn

class Tied(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.drawn = float(__import__("torch").rand(()))
        self.first = nn.Linear(4, width, bias=False)
        self.second = nn.Linear(width, 4, bias=False)
        self.again = nn.Linear(4, width, bias=False)
        self.again.weight = self.first.weight
        self.dropout = nn.Dropout(0.5)

    def forward(self, inputs):
        return self.again(self.dropout(self.second(self.first(inputs)))) + self.drawn

def tied(input_shape, num_outputs, *, width=8):
    return Tied(width)
"""
INPUTS = {"shape": [1, 4], "dtype": "float32"}
Own = Callable[[str], Any]


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Own:
    """Write the code of a user's builder, as if in a process of its own, and import it."""
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)

    def write(code: str) -> Any:
        (tmp_path / "own_networks.py").write_text(code)
        importlib.invalidate_caches()
        monkeypatch.delitem(sys.modules, "own_networks", raising=False)
        source_digest.__globals__["_digest"].cache_clear()
        return vars(importlib.import_module("own_networks")).get("tied")

    return write


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "runs")


def publish(store: Store, network: Network, state: Any, masks: Any, kind: str = "ticket") -> str:
    record = network.record()
    stage = Stage(kind, {"network": record})
    return store.ensure(
        stage, lambda folder: save_network(folder, state=state, masks=masks, network=record)
    )


def half(state: dict[str, Tensor], *names: str) -> dict[str, Tensor]:
    return {name: torch.arange(state[name].numel()).view_as(state[name]) % 2 == 0 for name in names}


def publish_own(store: Store, builder: Any) -> tuple[str, nn.Module]:
    """A ticket of the user's network: its key, and the network it is of."""
    network = Network(describe(builder), INPUTS, num_outputs=4, seed=7)
    model = network.build()
    state = model.state_dict()
    with torch.no_grad():
        model.load_state_dict(apply(state, half(state, "first.weight", "second.weight")))
    stale = {**state, "again.weight": torch.full((8, 4), 9.0)}
    masks = half(state, "first.weight", "second.weight")
    return publish(store, network, stale, masks), model.eval()


def test_the_module_that_was_stored(store: Store, own: Own) -> None:
    key, model = publish_own(store, own(OWN))
    loaded = sparsekit.load(key, store=store.root)
    assert type(loaded).__name__ == "Tied"
    assert not loaded.training
    assert loaded.again.weight is loaded.first.weight
    assert loaded.drawn == model.drawn
    inputs = torch.randn(3, 4)
    assert loaded(inputs).equal(model(inputs))
    assert (loaded.first.weight == 0).sum() == 16
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert sparsekit.load(store.path(key)).drawn == model.drawn


def test_masks_stand_under_every_name(store: Store, own: Own) -> None:
    key, _ = publish_own(store, own(OWN))
    masks = sparsekit.masks(key, store=store.root)
    assert set(masks) == {"first.weight", "second.weight", "again.weight"}
    assert masks["again.weight"].equal(masks["first.weight"])
    state = sparsekit.load(key, store=store.root).state_dict()
    for name, mask in masks.items():
        assert mask.dtype == torch.bool
        assert mask.shape == state[name].shape
        assert not state[name][~mask].any()
        assert state[name][mask].all()


def test_weights_of_a_stage_before_training_are_masked_as_well(store: Store) -> None:
    """What `pruned` refers to are the weights of another stage, all of them."""
    state, masks = drawn_state(MLP, shifts=True), masks_with_empty_rows(MLP)
    dense = {name: torch.ones_like(mask) for name, mask in masks.items()}
    weights = publish(store, MLP, state, dense, "init")
    key = publish(store, MLP, weights, masks, "pruned")
    assert all(sparsekit.load(weights, store=store.root).get_parameter(n).all() for n in masks)
    loaded = sparsekit.load(key, store=store.root).state_dict()
    assert all(loaded[name].equal(state[name] * mask) for name, mask in masks.items())


def test_transformations_are_done_again(store: Store) -> None:
    state, masks = drawn_state(MLP, shifts=True), masks_with_empty_rows(MLP)
    smaller, fewer, kept = remove_masked_channels(MLP, state, masks, None)
    before = sparsekit.load(publish(store, MLP, state, masks), store=store.root)
    key = publish(store, smaller, fewer, kept)
    after = sparsekit.load(key, store=store.root)
    sizes = [sum(p.numel() for p in model.parameters()) for model in (before, after)]
    assert sizes[1] < sizes[0]
    inputs = torch.randn(5, *MLP.example().shape[1:])
    torch.testing.assert_close(after(inputs), before(inputs), rtol=0, atol=1e-6)
    assert {n: m.shape for n, m in sparsekit.masks(key, store=store.root).items()} == {
        n: after.get_parameter(n).shape for n in masks
    }


def test_rows_of_results_lead_to_networks(run_tiny: Any, tmp_path: Path) -> None:
    store, keys = run_tiny("method=one_shot")
    rows = sparsekit.results(store.root)
    assert [row["ticket"] for row in rows] == keys
    assert rows == sparsekit.results([str(store.root / "named")])
    for row in rows:
        masks = sparsekit.masks(row)
        num_kept = sum(int(mask.sum()) for mask in masks.values())
        assert num_kept == row["num_kept"]
        model = sparsekit.load(row)
        assert sum(int((model.get_parameter(n) != 0).sum()) for n in masks) == num_kept
    assert rows[1]["num_kept"] < rows[0]["num_kept"]
    (record,) = (store.root / "named").rglob("*.json")
    last, first = sparsekit.load(record), sparsekit.load(record, cycle=0)
    assert last.state_dict()["1.weight"].equal(model.state_dict()["1.weight"])
    assert not first.state_dict()["1.weight"].equal(model.state_dict()["1.weight"])


def test_the_default_store(
    store: Store, own: Own, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    key, _ = publish_own(store, own(OWN))
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("SPARSEKIT_STORE", raising=False)
    assert sparsekit.masks(key)
    with pytest.raises(FileNotFoundError, match="no results here"):
        sparsekit.results()


def test_neither_lightning_nor_data_is_imported(store: Store) -> None:
    key = publish(store, MLP, drawn_state(MLP, shifts=True), masks_with_empty_rows(MLP))
    code = (
        "import sys, sparsekit\n"
        f"model = sparsekit.load({key!r}, store={str(store.root)!r})\n"
        "print(type(model).__name__, [n for n in ('lightning', 'sklearn', 'pandas', 'matplotlib')"
        " if n in sys.modules])"
    )
    printed = subprocess.run(
        [sys.executable, "-c", code], check=True, capture_output=True, text=True
    ).stdout
    assert printed == "Sequential []\n"


def test_every_file_is_verified(store: Store, own: Own) -> None:
    key, _ = publish_own(store, own(OWN))
    for name in ("masks.safetensors", "state.safetensors", "network.json", "description.json"):
        file = store.path(key) / name
        content = file.read_bytes()
        damaged = bytearray(content)
        damaged[len(content) // 2] ^= 1
        file.write_bytes(damaged)
        for ask in (sparsekit.load, sparsekit.masks):
            with pytest.raises(CorruptResult, match=key):
                ask(key, store=store.root)
        file.write_bytes(content)
    assert sparsekit.load(key, store=store.root)
    file.unlink()
    with pytest.raises(CorruptResult, match=r"description.json is missing"):
        sparsekit.load(key, store=store.root)


def test_a_builder_that_the_stage_was_not_made_with_is_not_called(store: Store, own: Own) -> None:
    """Checksums can be forged, but not what the key was made from."""
    builder = describe(own(OWN))
    network = Network(builder, INPUTS, num_outputs=4, seed=7)
    state = network.build().state_dict()

    def compute(folder: Path) -> None:
        save_network(folder, state=state, masks={}, network=network.record())

    key = store.ensure(Stage("init", {"problem": {"model": builder}}), compute)
    assert sparsekit.load(key, store=store.root)
    forged = {**network.record(), "model": {"_target_": "os.system", "command": "touch /forged"}}
    write_json(store.path(key) / "network.json", forged)
    body = json.loads((store.path(key) / "description.json").read_text())
    body["files"]["network.json"] = checksum(store.path(key) / "network.json")
    del body["checksum"]
    body["checksum"] = hashlib.sha256(canonical(body).encode()).hexdigest()
    write_json(store.path(key) / "description.json", body)
    assert store.has(key)
    with pytest.raises(CorruptResult, match=r"built by os\.system, which is not what its"):
        sparsekit.load(key, store=store.root)


def test_pickles_are_never_opened(store: Store, own: Own, monkeypatch: pytest.MonkeyPatch) -> None:
    key, _ = publish_own(store, own(OWN))

    def refuse(*arguments: Any, **settings: Any) -> None:
        raise AssertionError("something was unpickled")

    for module, name in ((torch, "load"), (pickle, "load"), (pickle, "loads")):
        monkeypatch.setattr(module, name, refuse)
    assert sparsekit.load(key, store=store.root)


def test_a_study_holds_no_network(store: Store, own: Own) -> None:
    key, _ = publish_own(store, own(OWN))
    study = store.ensure(
        Stage("study", {}, (key,)), lambda folder: write_json(folder / "study.json", {})
    )
    with pytest.raises(ValueError, match=f"{study} is a study .* it is about {key}"):
        sparsekit.load(study, store=store.root)


def test_a_ticket_of_before_networks_were_described(store: Store) -> None:
    old = store.ensure(Stage("ticket", {}), lambda folder: write_json(folder / "parts.json", {}))
    with pytest.raises(ValueError, match=f"{old} holds no network.json: an older release"):
        sparsekit.masks(old, store=store.root)


def test_a_builder_that_is_gone(store: Store, own: Own, tmp_path: Path) -> None:
    key, _ = publish_own(store, own(OWN))
    own("def tied_network(input_shape, num_outputs): ...\n" + OWN.replace("def tied(", "def t("))
    with pytest.raises(LookupError, match=f"{key}: 'own_networks.tied' cannot .*on sys.path"):
        sparsekit.load(key, store=store.root)


def test_a_builder_that_was_edited(store: Store, own: Own) -> None:
    key, _ = publish_own(store, own(OWN))
    own(OWN.replace("Dropout(0.5)", "Dropout(0.4)"))
    with pytest.warns(UserWarning, match=f"{key}: the code of own_networks.tied was") as caught:
        assert sparsekit.load(key, store=store.root).dropout.p == 0.4
    assert caught[0].filename == __file__
    with pytest.warns(UserWarning, match="was edited since") as caught:
        sparsekit.masks(key, store=store.root)
    assert caught[0].filename == __file__
    own(OWN.replace("def tied", "# what a tied network is\ndef tied"))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        sparsekit.load(key, store=store.root)


@pytest.mark.filterwarnings("ignore:.*was edited since")
@pytest.mark.parametrize(
    ("before", "after", "answer"),
    [
        (
            "Tied(width)",
            "Tied(width + 1)",
            "its weights do not fit what own_networks.tied builds today",
        ),
        ("second", "other", r"do not fit .*Missing key.*other.weight"),
        ("*, width=8", "*, size=8", r"own_networks.tied no longer builds its network: .*width"),
        ("return Tied(width)", "return {}['x']", "own_networks.tied no longer builds"),
    ],
)
def test_a_builder_of_another_network(
    store: Store, own: Own, before: str, after: str, answer: str
) -> None:
    key, _ = publish_own(store, own(OWN))
    own(OWN.replace(before, after))
    with pytest.raises(ValueError, match=f"(?s){key}: .*{answer}"):
        sparsekit.load(key, store=store.root)


def test_a_gpu_that_is_there_is_not_touched(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its context would cost memory, and processes forked from this one could not use it."""

    def touched(*_: object) -> Tensor:
        raise AssertionError("building a network initialises CUDA")

    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr(torch.cuda, "get_rng_state", touched)
    with pytest.raises(AssertionError, match="initialises CUDA"), torch.random.fork_rng():
        pass  # what it would be without care
    MLP.build()
