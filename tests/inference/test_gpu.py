"""Sparse layers as they run on a GPU: the Triton kernel, and what replaces it."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
import torch
import torch.nn.functional as F

from sparsekit.inference import gpu
from sparsekit.inference.layers import SparseConv2d, SparseLinear
from sparsekit.inference.rows import sparse_rows
from tests.warm import Forked


@pytest.fixture
def _without_triton(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpu, "refusal", lambda: "this test needs none")


@pytest.mark.usefixtures("_without_triton")
@pytest.mark.parametrize("shape", [(6,), (1, 6), (2, 20, 6), (0, 6)])
def test_linear_has_values_and_shape_of_the_dense_one(shape: tuple[int, ...]) -> None:
    weight, mask = torch.randn(4, 6), torch.rand(4, 6) < 0.5
    bias, x = torch.randn(4), torch.randn(shape)
    residual = torch.randn(*shape[:-1], 4)
    layer = SparseLinear(sparse_rows(weight, mask), bias, activation="relu")

    expected = (F.linear(x, weight * mask, bias) + residual).relu()

    torch.testing.assert_close(gpu.linear(layer, x, residual), expected)


@pytest.mark.usefixtures("_without_triton")
@pytest.mark.parametrize("groups", [1, 2])
def test_convolution_has_values_and_shape_of_the_dense_one(groups: int) -> None:
    weight = torch.randn(4, 6 // groups, 3, 2)
    mask = torch.rand(weight.shape) < 0.5
    shape = {"stride": (2, 1), "padding": (1, 0), "dilation": (1, 2), "groups": groups}
    x, bias = torch.randn(2, 6, 7, 5), torch.randn(4)
    residual = torch.randn(2, 4, 4, 3)
    layer = SparseConv2d(
        sparse_rows(weight, mask), bias, kernel_size=(3, 2), activation="relu", **shape
    )

    expected = (F.conv2d(x, weight * mask, bias, **shape) + residual).relu()

    torch.testing.assert_close(gpu.conv2d(layer, x, residual), expected)


def test_the_kernel_computes_the_same_by_tritons_interpreter() -> None:
    pytest.importorskip("triton")

    command = [sys.executable, "-m", "tests.inference.triton_cases"]
    env = {**os.environ, "TRITON_INTERPRET": "1"}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with Forked(command, env=env, text=True, **pipes) as process:
        out, errors = process.communicate()

    assert process.returncode == 0, errors
    differences = [float(line.split()[-1]) for line in out.splitlines()]
    assert len(differences) == 6
    assert max(differences) < 1e-5


def test_what_refuses_is_named() -> None:
    if torch.cuda.is_available():
        pytest.skip("nothing refuses here")

    assert str(gpu.refusal()).startswith(("RuntimeError", "AssertionError", "ImportError"))


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("batch", [1, 8, 300])
def test_layers_on_a_gpu_compute_what_they_do_on_the_cpu(batch: int) -> None:
    mask = torch.rand(70, 90) < 0.1
    layer = SparseLinear(sparse_rows(torch.randn(70, 90), mask), torch.randn(70))
    x = torch.randn(batch, 90)
    expected = layer(x)

    found = layer.to("cuda")(x.to("cuda")).cpu()

    assert gpu.refusal() is None
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)
