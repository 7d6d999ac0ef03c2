"""The command on a network trained by a run, and networks as programs of others."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

import sparsekit
from sparsekit import export
from sparsekit.exports import exporting
from sparsekit.inference.reading import load
from sparsekit.store.store import Store
from tests.exports.networks import MLP, drawn_masks, publish


def test_a_trained_network_is_compared_on_its_own_data(
    run_tiny: Callable[..., tuple[Store, list[str]]],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    store, keys = run_tiny("method=one_shot", "sparsity=0.9")
    capsys.readouterr()
    monkeypatch.chdir(tmp_path)
    assert (
        export.main([keys[-1], f"store={store.root}", "format=torch_export", "batch_size=3"]) == 0
    )
    first, *lines = capsys.readouterr().out.splitlines()
    assert first == f"exports/{keys[-1]}-torch_export"
    assert [re.split(r"\s{2,}", one)[1] for one in lines] == ["on disk", "difference", "latency"]
    assert "883 of 8,832 weights are kept" in lines[0]
    assert lines[1].endswith("64 examples of the test split of digits")
    assert "batch 3, CPU time of 1 thread" in lines[2]
    program = torch.export.load(f"{first}/network.pt2").module()
    inputs = torch.randn(5, 1, 8, 8)
    assert program(inputs).allclose(sparsekit.load(keys[-1], store=store.root)(inputs), atol=1e-5)
    with pytest.raises(ValueError, match=r"is a torch_export export: torch\.export\.load"):
        load(first)


def test_onnx_takes_batches_of_any_size(mlp_ticket: Path, tmp_path: Path) -> None:
    onnxruntime = pytest.importorskip("onnxruntime")
    assert export.main([str(mlp_ticket), "format=onnx", f"out={tmp_path / 'a'}"]) == 0
    session = onnxruntime.InferenceSession(tmp_path / "a/network.onnx")
    for size in (1, 7):
        inputs = torch.randn(size, 1, 8, 8)
        (found,) = session.run(None, {session.get_inputs()[0].name: inputs.numpy()})
        expected = sparsekit.load(mlp_ticket)(inputs)
        assert torch.from_numpy(found).allclose(expected, atol=1e-4)


def test_an_export_that_differs_is_not_left_behind(
    store: Store,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    ticket = store.path(publish(store, MLP, drawn_masks(MLP, 0.1), "differs"))

    def wrong(run: Callable[[Any], Any]) -> Any:
        return lambda *given: lambda inputs: run(*given)(inputs) + 1

    chosen = exporting.format_named("csr")
    other = exporting.Format(chosen.write, wrong(chosen.open))
    monkeypatch.setattr(exporting, "format_named", lambda name: other)
    assert export.main([str(ticket), "format=csr", f"out={tmp_path / 'a'}"]) == 2
    assert "outputs of the export differ by 1" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_a_missing_package_is_named(
    mlp_ticket: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(__import__("sys").modules, "onnxruntime", None)
    assert export.main([str(mlp_ticket), "format=onnx"]) == 2
    assert "needs onnxruntime: pip install 'sparsekit[onnx]'" in capsys.readouterr().err
