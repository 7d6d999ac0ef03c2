"""Formats that store weights and masks: what comes back, their sizes, and hostile folders."""

from __future__ import annotations

import json
import os
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

import sparsekit
from sparsekit import export
from sparsekit.core.storage import Layer, stored_bytes
from sparsekit.exports.folder import write_manifest
from sparsekit.inference.files import DamagedExport
from sparsekit.inference.manifest import LAYOUT, MANIFEST, NETWORK, WEIGHTS, sealed
from sparsekit.inference.reading import load, weights
from sparsekit.store.store import Store
from tests.exports.networks import MLP, TIED, publish, two_four_masks


def exported(ticket: Path, out: Path, *settings: str) -> Path:
    assert export.main([str(ticket), f"out={out}", *settings]) == 0
    return out


@pytest.mark.parametrize("name", ["dense_mask", "csr", "bitmap", "delta"])
def test_weights_and_masks_come_back(name: str, cnn_ticket: Path, tmp_path: Path) -> None:
    folder = exported(cnn_ticket, tmp_path / name, f"format={name}")
    state, masks = weights(folder)
    wanted = sparsekit.load(cnn_ticket).state_dict()
    assert list(state) == list(wanted)
    assert all(state[one].equal(wanted[one]) for one in wanted)
    assert masks.keys() == sparsekit.masks(cnn_ticket).keys()
    inputs = torch.randn(3, 1, 28, 28)
    assert sparsekit.load(folder)(inputs).equal(sparsekit.load(cnn_ticket)(inputs))
    for one, mask in sparsekit.masks(folder).items():
        assert mask.equal(sparsekit.masks(cnn_ticket)[one])


def test_two_of_four(store: Store, tmp_path: Path) -> None:
    ticket = store.path(publish(store, MLP, two_four_masks(MLP), "two four"))
    state, masks = weights(exported(ticket, tmp_path / "a", "format=two_four", "dtype=bfloat16"))
    wanted = sparsekit.load(ticket).state_dict()
    assert state["1.weight"].equal(wanted["1.weight"].bfloat16().float())
    assert state["1.bias"].equal(wanted["1.bias"])
    assert masks["5.weight"].equal(sparsekit.masks(ticket)["5.weight"])


def test_tied_weights_are_stored_once(store: Store, tmp_path: Path) -> None:
    masks = {"embedding.weight": torch.rand(10, 8) < 0.4}
    ticket = store.path(publish(store, TIED, masks, "tied"))
    folder = exported(ticket, tmp_path / "a", "format=delta")
    assert set(load_file(folder / WEIGHTS)) < {
        "embedding.weight:values", "embedding.weight:gaps", "embedding.weight:bits",
        "head.bias:plain",
    }  # fmt: skip
    state, found = weights(folder)
    assert state["head.weight"] is state["embedding.weight"]
    assert state["head.weight"].equal(sparsekit.load(ticket).get_parameter("head.weight"))
    assert found["embedding.weight"].equal(masks["embedding.weight"])


def test_a_mask_that_is_not_two_of_four_is_named(
    mlp_ticket: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert export.main([str(mlp_ticket), "format=two_four", f"out={tmp_path / 'a'}"]) == 2
    assert capsys.readouterr().err.startswith("error: 1.weight: a group of four keeps")
    assert not list(tmp_path.iterdir())


def test_sizes_of_files_are_those_of_the_report(mlp_ticket: Path, tmp_path: Path) -> None:
    masks = sparsekit.masks(mlp_ticket)
    layers = {
        name: Layer(*mask.shape, int(mask.sum()), int(mask.any(1).sum()), int(mask.sum(1).max()))
        for name, mask in masks.items()
    }
    biases = sum(one.numel() for one in sparsekit.load(mlp_ticket).parameters() if one.ndim == 1)
    counted = stored_bytes(layers, biases)
    for name, formula in (("csr", "csr_16"), ("bitmap", "bitmap")):
        folder = exported(mlp_ticket, tmp_path / name, f"format={name}")
        tensors = load_file(folder / WEIGHTS).values()
        assert sum(one.nbytes for one in tensors) == counted[formula]


def test_the_same_export_is_found_and_another_one_is_not_overwritten(
    mlp_ticket: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = exported(mlp_ticket, tmp_path / "a", "format=csr")
    before = (folder / MANIFEST).read_bytes()
    first = capsys.readouterr().out
    assert exported(mlp_ticket, folder, "format=csr") == folder
    assert capsys.readouterr().out == first.replace("/a\n", "/a is there already\n", 1)
    asked = [str(mlp_ticket), f"out={folder}"]
    assert export.main([*asked, "format=bitmap"]) == 2
    assert export.main([*asked, "format=csr", "dtype=bfloat16"]) == 2
    (folder / WEIGHTS).write_bytes(b"")
    assert export.main([*asked, "format=csr"]) == 2
    errors = capsys.readouterr().err.splitlines()
    wanted = ["with format csr, not bitmap", "with settings", "is not a whole export"]
    assert [one for one, error in zip(wanted, errors, strict=True) if one not in error] == []
    assert (folder / MANIFEST).read_bytes() == before
    assert [one.name for one in tmp_path.iterdir()] == ["a"]


MISTAKES = {
    "no format": (["batch_size=1"], "say format="),
    "an unknown format": (["format=zip"], "format=zip is none of"),
    "no number": (["format=csr", "threads=one"], "threads=one: expected a whole number"),
    "no examples": (["format=csr", "batch_size=0"], "must be at least 1"),
    "twice": (["format=csr", "format=csr"], "given twice"),
    "an unknown setting": (["format=csr", "speed=9"], "'speed=9' is no setting"),
    "an unknown type": (["format=csr", "dtype=int8"], "dtype=int8 is none of"),
    "bfloat16 elsewhere": (["format=onnx", "dtype=bfloat16"], "not bfloat16"),
}


def test_a_place_that_cannot_be_is_named(
    mlp_ticket: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").touch()
    out = tmp_path / "file" / "a"
    assert export.main([str(mlp_ticket), "format=csr", f"out={out}"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.endswith(f"Not a directory: '{out}'")


@pytest.mark.parametrize("what", MISTAKES)
def test_mistakes(what: str, mlp_ticket: Path, capsys: pytest.CaptureFixture[str]) -> None:
    settings, message = MISTAKES[what]
    assert export.main([str(mlp_ticket), *settings]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert message in line


@pytest.fixture(scope="module")
def whole(mlp_ticket: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return exported(mlp_ticket, tmp_path_factory.mktemp("whole") / "csr", "format=csr")


class Bomb:
    """Unpickled, it leaves a folder behind."""

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[str]]:
        return os.mkdir, ("sign-of-a-pickle",)


def edit(folder: Path, **changes: Any) -> None:
    """Change the manifest, and its checksum with it."""
    manifest = json.loads((folder / MANIFEST).read_text())
    (folder / MANIFEST).write_text(json.dumps(sealed({**manifest, **changes})))


def forge(folder: Path, name: str, content: bytes) -> None:
    """Change a file, and all checksums with it."""
    (folder / name).write_bytes(content)
    manifest = json.loads((folder / MANIFEST).read_text())
    rest = {key: manifest[key] for key in manifest if key not in ("files", "checksum")}
    write_manifest(folder, rest)


def forge_json(folder: Path, name: str, change: Callable[[Any], object]) -> None:
    value = json.loads((folder / name).read_text())
    change(value)
    forge(folder, name, json.dumps(value).encode())


def forge_tensor(folder: Path, name: str, value: torch.Tensor) -> None:
    tensors = {**load_file(folder / WEIGHTS), name: value}
    save_file(tensors, folder / "other")
    forge(folder, WEIGHTS, (folder / "other").read_bytes())


def replace(folder: Path, make: Callable[[Path], object]) -> None:
    (folder / WEIGHTS).unlink()
    make(folder / WEIGHTS)


def cut(folder: Path) -> None:
    content = (folder / WEIGHTS).read_bytes()
    (folder / WEIGHTS).write_bytes(content[:-4])


def first_tensor(layout: Any, **changes: Any) -> None:
    layout["tensors"][0].update(changes)


def files(folder: Path, **changes: Any) -> dict[str, Any]:
    said = json.loads((folder / MANIFEST).read_text())["files"]
    return {**said, WEIGHTS: {**said[WEIGHTS], **changes}}


U16 = torch.uint16
HOSTILE: dict[str, tuple[Callable[[Path], object], str]] = {
    "cut": (cut, "checksum"),
    "another byte": (lambda f: (f / LAYOUT).write_text("{}"), "checksum"),
    "a file missing": (lambda f: (f / WEIGHTS).unlink(), "cannot be read: No such file"),
    "no manifest": (lambda f: (f / MANIFEST).unlink(), "cannot be read: No such file"),
    "no JSON": (lambda f: (f / MANIFEST).write_text("{"), "is damaged: Expecting"),
    "binary": (lambda f: (f / MANIFEST).write_bytes(b"\x80\x04"), "is damaged"),
    "nested": (lambda f: (f / MANIFEST).write_text("[" * 99_999), "nested too deeply"),
    "a name twice": (lambda f: (f / MANIFEST).write_text('{"a": 1, "a": 2}'), "twice"),
    "no number": (lambda f: (f / MANIFEST).write_text('{"a": NaN}'), "not a finite number"),
    "a list": (lambda f: (f / MANIFEST).write_text("[]"), "expected an exported network"),
    "edited": (
        lambda f: (f / MANIFEST).write_text(
            (f / MANIFEST).read_text().replace('"threads": 1', '"threads": 2')
        ),
        "it was edited: checksum",
    ),
    "a later version": (lambda f: edit(f, version=2), "it has version 2, and this release"),
    "an unknown format": (lambda f: edit(f, format="zip"), "'zip' is none of"),
    "another format": (lambda f: edit(f, format="onnx"), "a onnx export has network.onnx, not"),
    "a field more": (lambda f: edit(f, pickle="x"), "expected what, version"),
    "a path out of it": (
        lambda f: edit(f, files={**files(f), "../secret": {}}), "a csr export has weights",
    ),
    "a huge file": (
        lambda f: edit(f, files=files(f, bytes=2**62)), "is not the file that was exported",
    ),
    "a negative size": (lambda f: edit(f, files=files(f, bytes=-1)), "neither size nor checksum"),
    "a link": (lambda f: replace(f, lambda p: p.symlink_to("/etc/passwd")), "cannot be read"),
    "a pipe": (lambda f: replace(f, os.mkfifo), "not a regular file"),
    "a device": (lambda f: replace(f, lambda p: p.symlink_to("/dev/zero")), "cannot be read"),
    "a folder": (lambda f: replace(f, Path.mkdir), "not a regular file"),
    "a pickle": (lambda f: forge(f, WEIGHTS, pickle.dumps(Bomb())), "holds no tensors"),
    "a pickle of tensors": (
        lambda f: (torch.save({"a": Bomb()}, f / "p"), forge(f, WEIGHTS, (f / "p").read_bytes())),
        "holds no tensors",
    ),
    "a layout of another kind": (lambda f: forge(f, LAYOUT, b"[1]"), "must have exactly tensors"),
    "no list": (lambda f: forge(f, LAYOUT, b'{"tensors": 3}'), "must be a list"),
    "a huge shape": (
        lambda f: forge_json(f, LAYOUT, lambda v: first_tensor(v, shape=[2**19, 2**20])),
        "and this machine has",
    ),
    "too huge a shape": (
        lambda f: forge_json(f, LAYOUT, lambda v: first_tensor(v, shape=[2**39, 2**39])),
        "has the shape",
    ),
    "a shape of texts": (
        lambda f: forge_json(f, LAYOUT, lambda v: first_tensor(v, shape=["a"])), "has the shape",
    ),
    "another shape": (
        lambda f: forge_json(f, LAYOUT, lambda v: first_tensor(v, shape=[65, 64])),
        "1.weight, csr: starts must be",
    ),
    "an unknown coding": (
        lambda f: forge_json(f, LAYOUT, lambda v: first_tensor(v, coding="zip")), "is none of",
    ),
    "the same as a later one": (
        lambda f: forge_json(
            f, LAYOUT, lambda v: v["tensors"].insert(0, {"name": "a", "same_as": "1.weight"})
        ),
        "which is not before it",
    ),
    "a tensor twice": (
        lambda f: forge_json(f, LAYOUT, lambda v: v["tensors"].append(v["tensors"][0])), "twice",
    ),
    "a tensor too few": (
        lambda f: forge_json(f, LAYOUT, lambda v: v["tensors"].pop()), "says nothing of 5.bias",
    ),
    "a tensor too many": (
        lambda f: forge_tensor(f, "9.weight:plain", torch.zeros(3)), "says nothing of 9.weight",
    ),
    "indices out of range": (
        lambda f: forge_tensor(
            f, "1.weight:columns",
            torch.full_like(load_file(f / WEIGHTS)["1.weight:columns"].long(), 64).to(U16),
        ),
        "1.weight, csr: an index is out of range: 64 of 64",
    ),
}  # fmt: skip


@pytest.mark.parametrize("what", HOSTILE)
def test_hostile_folders(what: str, whole: Path, tmp_path: Path) -> None:
    harm, message = HOSTILE[what]
    folder = shutil.copytree(whole, tmp_path / "csr")
    harm(folder)
    with pytest.raises(DamagedExport, match=message) as raised:
        weights(folder)
    assert len(str(raised.value).splitlines()) == 1
    assert str(folder) in str(raised.value)
    assert not Path("sign-of-a-pickle").exists()


def test_the_command_refuses_damaged_exports_in_one_line(
    whole: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = shutil.copytree(whole, tmp_path / "csr")
    cut(folder)
    assert export.main([str(folder), "format=bitmap", f"out={tmp_path / 'b'}"]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert "is not the file that was exported" in line
    assert not (tmp_path / "b").exists()


def test_functions_of_others_are_not_called(whole: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(whole, tmp_path / "csr")
    target = {"_target_": "os.mkdir", "path": str(tmp_path / "made")}
    forge_json(folder, NETWORK, lambda value: value.update(model=target))
    with pytest.raises(ValueError, match=r"os\.mkdir is not of sparsekit"):
        sparsekit.load(folder)
    assert not (tmp_path / "made").exists()
    forge(folder, NETWORK, b"3")
    with pytest.raises(DamagedExport, match=r"network\.json"):
        sparsekit.load(folder)


def test_exports_can_be_exported_again(whole: Path, tmp_path: Path) -> None:
    folder = exported(whole, tmp_path / "delta", "format=delta")
    assert sparsekit.load(folder)[1].weight.equal(sparsekit.load(whole)[1].weight)
    manifest = json.loads((folder / MANIFEST).read_text())
    assert manifest["source"] == json.loads((whole / MANIFEST).read_text())["source"]
    assert "drawn at random" in manifest["measured"]["compared_on"]
    with pytest.raises(ValueError, match="means nothing for"):
        sparsekit.load(folder, cycle=1)


def test_what_only_stores_says_what_reads_it(whole: Path) -> None:
    with pytest.raises(ValueError, match=r"is a csr export: sparsekit\.load builds"):
        load(whole)


UNWANTED = (
    "import sys; print([m for m in sys.modules if m.split('.')[0] in ('lightning', 'hydra', "
    "'omegaconf', 'timm', 'torchvision', 'wandb') or m.startswith('sparsekit.') and "
    "not m.startswith(('sparsekit.inference', 'sparsekit.moved'))])"
)
