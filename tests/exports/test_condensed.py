"""The format that runs: what it gives back, how it is stored, and what it takes to load it."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

import sparsekit
import sparsekit.inference
from sparsekit import export
from sparsekit.core.prune import apply
from sparsekit.exports import condensed
from sparsekit.exports.convert import convert
from sparsekit.inference.files import DamagedExport
from sparsekit.inference.graph import Graph
from sparsekit.inference.layout import read, written
from sparsekit.inference.manifest import GRAPH, LAYOUT, MANIFEST, WEIGHTS
from sparsekit.inference.reading import graph_of
from sparsekit.inference.running import SparseNetwork
from tests.exports.networks import MLP, drawn_masks
from tests.exports.test_storage_formats import UNWANTED, forge_json, forge_tensor
from tests.networks.networks import drawn_state


@pytest.fixture(scope="module")
def folder(cnn_ticket: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An export all of whose layers are sparse, whatever is fastest on this machine."""
    out = tmp_path_factory.mktemp("condensed") / "cnn"
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(condensed, "convert", always_sparse)
        assert export.main([str(cnn_ticket), "format=condensed", f"out={out}"]) == 0
    return out


def always_sparse(*given: Any, **settings: Any) -> Any:
    return convert(*given, **settings, choose="sparse")


def test_a_loaded_network_computes_what_the_stored_one_does(folder: Path, cnn_ticket: Path) -> None:
    network = sparsekit.inference.load(folder)
    assert not network.training
    assert len(network.graph.weights) >= 4
    for size in (1, 6):
        inputs = torch.randn(size, 1, 28, 28)
        expected = sparsekit.load(cnn_ticket)(inputs)
        assert network(inputs).allclose(expected, rtol=1e-4, atol=1e-3)


def test_layers_chosen_by_measurement(
    mlp_ticket: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = ["format=condensed", "dtype=bfloat16", "batch_size=2", f"out={tmp_path / 'a'}"]
    assert export.main([str(mlp_ticket), *settings]) == 0
    told = capsys.readouterr().out
    assert "the dense network takes" in told
    assert re.search(r"  layers      (\d \w+(, )?)+: what was measured", told), told
    inputs = torch.randn(3, 1, 8, 8)
    found, expected = sparsekit.inference.load(tmp_path / "a")(inputs), sparsekit.load(mlp_ticket)
    assert found.allclose(expected(inputs), rtol=0.05, atol=0.5)


@pytest.mark.parametrize("choose", ["sparse", "dense"])
def test_values_are_stored_as_asked_whatever_the_layers_run_as(choose: Any) -> None:
    masks = drawn_masks(MLP, 0.1)
    model = MLP.loaded(apply(drawn_state(MLP, shifts=True), masks))
    inputs = torch.randn(2, 1, 8, 8)
    graph = convert(model, masks, inputs, choose=choose, dtype=torch.bfloat16).graph
    layout, tensors = written(condensed.stored_graph(graph))
    values = {name: one.dtype for name, one in tensors.items() if name.endswith("values")}
    assert len(values) == len(masks)
    assert set(values.values()) == {torch.bfloat16}
    again = graph_of(graph.record()[0], read(json.loads(json.dumps(layout)), tensors))
    assert SparseNetwork(again)(inputs).equal(SparseNetwork(graph)(inputs))


def converted(kept: int | None) -> Graph:
    """The MLP with so many weights in each row, or with different numbers."""
    masks = drawn_masks(MLP, 0.1)
    if kept is not None:
        masks = {name: torch.zeros_like(mask) for name, mask in masks.items()}
        for mask in masks.values():
            mask[:, :kept] = True
    model = MLP.loaded(apply(drawn_state(MLP, shifts=True), masks))
    return convert(model, masks, torch.randn(2, 1, 8, 8), choose="sparse").graph


@pytest.mark.parametrize(("kept", "coding"), [(3, "condensed"), (None, "csr")])
def test_rows_are_stored_as_their_lengths_allow(kept: int | None, coding: str) -> None:
    graph = converted(kept)
    layout, tensors = written(condensed.stored_graph(graph))
    codings = {one["name"]: one["coding"] for one in layout["tensors"]}
    assert {codings[name] for name in graph.weights} == {coding}
    again = graph_of(graph.record()[0], read(json.loads(json.dumps(layout)), tensors))
    inputs = torch.randn(2, 1, 8, 8)
    assert SparseNetwork(again)(inputs).equal(SparseNetwork(graph)(inputs))
    assert all(
        again.weights[name].mask().equal(graph.weights[name].mask())
        for name in codings
        if name in graph.weights
    )


def test_layers_that_stay_dense_are_stored_without_their_zeros() -> None:
    weight = torch.where(torch.rand(64, 64) < 0.1, torch.randn(64, 64), 0.0)
    weight[0, 0], weight[1, 1] = -0.0, torch.inf
    stored = condensed.smallest("a", weight)
    layout, tensors = written([stored, condensed.smallest("b", torch.randn(8, 8))])
    assert [one["coding"] for one in layout["tensors"]] == ["gaps", "plain"]
    assert sum(one.nbytes for one in stored.parts.values()) < 0.14 * weight.nbytes
    (found, _) = read(layout, tensors)
    from sparsekit.inference.layout import decoded

    state, _ = decoded([found])
    assert state["a"].view(torch.int32).equal(weight.view(torch.int32))


def rename(record: Any) -> None:
    record["nodes"][0]["op"] = "aten.system.default"


def refer(record: Any) -> None:
    record["outputs"] = {"of": "what is not there"}


def columns_beyond(folder: Path) -> None:
    tensors = load_file(folder / WEIGHTS)
    name = next(name for name in tensors if name.endswith(":columns"))
    forge_tensor(folder, name, torch.full_like(tensors[name].long(), 65_000).to(torch.uint16))


HOSTILE: dict[str, tuple[Callable[[Path], object], str]] = {
    "an unknown operation": (
        lambda f: forge_json(f, GRAPH, rename), "there is no operation 'aten.system.default'",
    ),
    "a reference to nothing": (lambda f: forge_json(f, GRAPH, refer), "what is not there"),
    "a graph of another version": (
        lambda f: forge_json(f, GRAPH, lambda v: v.update(version=9)), "has version 9",
    ),
    "a graph of another kind": (lambda f: forge_json(f, GRAPH, lambda v: v.clear()), "exactly"),
    "columns out of range": (columns_beyond, "an index is out of range: 65,000"),
    "a tensor too few": (
        lambda f: forge_json(f, LAYOUT, lambda v: v["tensors"].pop()), "says nothing of",
    ),
    "another number of rows": (
        lambda f: forge_json(f, LAYOUT, lambda v: v["tensors"][-1].update(shape=[3, 84])), "starts",
    ),
}  # fmt: skip


@pytest.mark.parametrize("what", HOSTILE)
def test_hostile_exports_run_nothing(what: str, folder: Path, tmp_path: Path) -> None:
    harm, message = HOSTILE[what]
    copy = shutil.copytree(folder, tmp_path / "cnn")
    harm(copy)
    with pytest.raises(DamagedExport, match=message) as raised:
        sparsekit.inference.load(copy)
    assert len(str(raised.value).splitlines()) == 1


def test_only_what_stores_weights_has_any(folder: Path) -> None:
    with pytest.raises(ValueError, match=r"is a condensed export: sparsekit\.inference\.load"):
        sparsekit.inference.weights(folder)


def test_loading_imports_nothing_of_training(folder: Path, cnn_ticket: Path) -> None:
    inputs = torch.arange(784.0).view(1, 1, 28, 28) / 784
    code = (
        f"import torch, sparsekit.inference as i; network = i.load({str(folder)!r}); "
        "found = network(torch.arange(784.0).view(1, 1, 28, 28) / 784); "
        f"print(found.argmax().item()); {UNWANTED}"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    expected = int(sparsekit.load(cnn_ticket)(inputs).argmax())
    assert run.stdout.split() == [str(expected), "[]"]
    assert (folder / MANIFEST).exists()
