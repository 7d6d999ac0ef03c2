"""Sparse layers and networks against the best dense ones and the best stock CSR.

`layers`: 3072 -> 768, 768 -> 3072 and 4096 -> 4096 at four sparsities and batch sizes 1 (hot and
cold caches), 8, 64 and 256. `paths`: the first of them with every kernel there is, and with PyTorch
alone, each in a process of its own. `networks`: ResNet-50 and ViT-B/16 as a whole. `gpu`: layers on
a GPU. `headline` is what `paths` runs. All ways take turns; with one thread the CPU time of that
thread counts, with several it is wall time.
"""

from __future__ import annotations

import dataclasses
import os
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence

import torch

from benchmarks import timing
from benchmarks.inference import layers, networks, on_gpu
from sparsekit.inference.library import CHOICES, description
from sparsekit.measuring.hardware import hardware, versions

PARTS = ("layers", "paths", "networks", "gpu", "headline")
NOTES = """\
Aims are those for 3072 -> 768 on AVX-512; two thirds of them on AVX2, 0.9 of dense for PyTorch
alone, 0.8 of them where rows differ in length. Over: how many times as fast, median of the ratios
of each round. Limit: bytes of weights, inputs and outputs at the bandwidth measured for as many
bytes (cold: for a buffer of 512 MB), or multiply-adds at the measured peak, whichever is longer.
Cold: each call takes another copy of the layer, 128 MB of them for each way. Baselines, without
bias: F.linear; addmv at batch 1; CSR with 32-bit indices as addmv at batch 1 and as csr @ x.t();
CSR has constant fan-in."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure what is asked for."""
    options = timing.read_options(__doc__ or "", arguments, rounds=15, parts=PARTS)
    clock = "thread's CPU" if options.threads == 1 else "wall"
    options = dataclasses.replace(options, clock_name=clock)
    chosen = [name for name in PARTS if name in options.parts]
    if options.parts == PARTS:
        chosen.remove("headline")
    for name in chosen:
        parts = SECTIONS[name](options)
        about = f"{hardware()}; {versions()}; kernels: {description()}."
        timing.report(f"Inference: {name}", [about, *parts], options)
    return 0


def _layers(options: timing.Options) -> list[str]:
    shapes = layers.TINY if options.quick else layers.SHAPES
    return [NOTES, *layers.sections(shapes, options)]


def _headline(options: timing.Options) -> list[str]:
    return layers.sections(layers.TINY if options.quick else layers.SHAPES[:1], options)


def _paths(options: timing.Options) -> list[str]:
    """Everything again in processes that are told which kernels to use."""
    parts = []
    for path in CHOICES[1:]:
        command = [sys.executable, "-m", "benchmarks.inference", "--parts", "headline"]
        command += ["--threads", str(options.threads), "--rounds", str(options.rounds)]
        done = subprocess.run(
            [*command, *(["--quick"] if options.quick else [])],
            env={**os.environ, "SPARSEKIT_KERNELS": path},
            cwd=timing.ROOT,
            capture_output=True,
            text=True,
            check=False,
        )
        said = (done.stderr.strip().splitlines() or ["nothing"])[-1]
        shown = done.stdout.replace("\n#", "\n##") if done.returncode == 0 else f"Failed: {said}"
        parts.append(f"### SPARSEKIT_KERNELS={path}\n\n{shown}")
    return parts


def _networks(options: timing.Options) -> list[str]:
    return networks.sections(options)


def _gpu(options: timing.Options) -> list[str]:
    return on_gpu.sections(options)


SECTIONS: Mapping[str, Callable[[timing.Options], list[str]]] = {
    "layers": _layers,
    "paths": _paths,
    "networks": _networks,
    "gpu": _gpu,
    "headline": _headline,
}

if __name__ == "__main__":
    torch.set_grad_enabled(False)
    sys.exit(main())
