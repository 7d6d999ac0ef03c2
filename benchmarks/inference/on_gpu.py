"""Layers on a GPU: our kernel against dense in float32 and on bfloat16 tensor cores."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks import timing
from benchmarks.inference.cases import CONSTANT, DIFFERING, weights
from sparsekit.inference import gpu
from sparsekit.inference.layers import SparseLinear
from sparsekit.measuring.timing import clock_for, repeated

SHAPES = ((3072, 768), (4096, 4096))
SPARSITIES = (0.9, 0.95, 0.99)
BATCHES = (1, 8, 64, 256)
AIMS = {256: 2.0}
"""By batch size at 90 %: times dense float32, transposes included."""
BASE = "F.linear, float32"


def sections(options: timing.Options) -> list[str]:
    """One table for each shape, sparsity and batch size."""
    if not torch.cuda.is_available():
        return ["There is no GPU here: nothing was measured."]
    timed = dataclasses.replace(options, clock_name="wall")
    about = f"{torch.cuda.get_device_name()}; sparse layers by {gpu.description()}; float32 dense "
    about += "without TF32; wall time after synchronising; x and outputs example by example."
    cases = [(*shape, sparsity, batch) for shape in SHAPES for sparsity in SPARSITIES
             for batch in BATCHES]  # fmt: skip
    return [about, *(_section(*case, timed) for case in (cases[:1] if options.quick else cases))]


def _section(
    inputs: int, outputs: int, sparsity: float, batch: int, options: timing.Options
) -> str:
    clock = clock_for(1, "cuda")
    with torch.inference_mode():
        ways = {name: repeated(work, clock) for name, work in _works(
            inputs, outputs, sparsity, batch).items()}  # fmt: skip
        times = timing.interleave(ways, rounds=options.rounds)
    table = timing.markdown(timing.HEAD, timing.rows(times, base=BASE))
    lines = []
    if sparsity == SPARSITIES[0] and batch in AIMS:
        way = f"{CONSTANT}, float32"
        ratio = timing.paired(times, BASE, way)
        lines.append(timing.at_least(f"{BASE} / {way}", ratio, AIMS[batch]))
    title = f"### {inputs} -> {outputs}, {sparsity:.0%}, batch {batch}"
    return "\n\n".join([title, table, *lines])


def _works(
    inputs: int, outputs: int, sparsity: float, batch: int
) -> dict[str, Callable[[], Tensor]]:
    layer = weights(inputs, outputs, sparsity)
    x, weight = torch.randn(batch, inputs, device="cuda"), layer.dense.cuda()
    half, half_weight = x.bfloat16(), weight.bfloat16()
    csr = layer.csr.cuda()
    made: dict[str, Callable[[], Tensor]] = {
        BASE: lambda: F.linear(x, weight),
        "F.linear, bfloat16 tensor cores": lambda: F.linear(half, half_weight),
        "CSR @ x.t()": lambda: (csr @ x.t()).t().contiguous(),
    }
    for name in (CONSTANT, DIFFERING):
        for dtype in ("float32", "bfloat16"):
            rows = layer.rows[f"{name}, {dtype}"]
            made[f"{name}, {dtype}"] = _sparse(SparseLinear(rows).cuda(), x, rows.dense())
    return made


def _sparse(layer: SparseLinear, x: Tensor, dense: Tensor) -> Callable[[], Tensor]:
    expected = F.linear(x.cpu(), dense)
    apart = float((layer(x).cpu() - expected).abs().max() / expected.abs().max())
    if not apart < 1e-4:
        raise RuntimeError(f"the GPU's layer differs from the dense one by {apart:.2g}")
    return lambda: layer(x).contiguous()
