"""The benchmark of sparse layers in its smallest form, and what it holds them against."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.inference import __main__ as inference
from benchmarks.inference import cases, networks, targets
from benchmarks.inference.cases import Case

HOT = Case(3072, 768, 0.9, 1)
COLD = Case(3072, 768, 0.9, 1, is_cold=True)
OTHER = Case(4096, 4096, 0.9, 1)


def test_layers_are_measured_and_reported(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "results.md"

    assert inference.main(["--quick", "--rounds", "1", "--parts", "layers", "--out", str(out)]) == 0

    printed = capsys.readouterr().out
    assert printed in out.read_text()
    for text in ("### 48 -> 32", *cases.OURS, "Sparse loses", "kernels: ", "thread's CPU time"):
        assert text in printed


def test_networks_are_masked_as_asked() -> None:
    kind = networks.QUICK["ResNet-20"]

    model, masks = networks.masked(kind, 0.9)

    assert set(kind.dense) <= set(model.state_dict())
    assert "conv.weight" not in masks
    assert all(abs(float(mask.float().mean()) - 0.1) < 0.01 for mask in masks.values())
    assert all(bool((model.get_parameter(n)[~mask] == 0).all()) for n, mask in masks.items())
    assert not model.training


def test_copies_of_a_cold_layer_are_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cases, "COLD", 3 * 32 * 48 * 4)
    layer = cases.weights(48, 32, 0.5)

    works = cases.works(layer, Case(48, 32, 0.5, 1, is_cold=True))

    assert len(works["F.linear"]) == 3
    assert len(works["constant fan-in, float32"]) > 3
    assert set(works) == {*cases.DENSE, *cases.CSR, *cases.OURS}


def test_rows_are_as_their_names_say() -> None:
    layer = cases.weights(48, 32, 0.75)

    assert layer.rows["constant fan-in, float32"].fan_in == 12
    assert layer.rows["differing rows, bfloat16"].fan_in is None
    assert layer.rows["differing rows, bfloat16"].kept == 12 * 32


@pytest.mark.parametrize(
    ("case", "way", "level", "expected"),
    [
        (HOT, "constant fan-in, float32", "avx512", 4.5),
        (HOT, "constant fan-in, float32", "avx2", 3.0),
        (HOT, "differing rows, float32", "avx512", 3.6),
        (COLD, "constant fan-in, bfloat16", "avx512", 8.0),
        (OTHER, "constant fan-in, float32", "avx512", None),
        (OTHER, "constant fan-in, float32", "torch", 0.9),
        (HOT, "constant fan-in, float32", "portable", None),
    ],
)
def test_aims(case: Case, way: str, level: str, expected: float | None) -> None:
    assert targets.over_dense(case, way, level) == pytest.approx(expected)
