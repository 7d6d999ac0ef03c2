"""The Triton kernel on the CPU, by Triton's interpreter; prints one line for each case.

It is a program of its own, because Triton reads TRITON_INTERPRET when it is imported. As a fork it
begins with a Triton that was imported without, all of which in Python is therefore imported anew.
"""

from __future__ import annotations

import importlib
import sys

import torch

from sparsekit.inference.gpu import by_pytorch
from sparsekit.inference.rows import SparseRows, sparse_rows

ROWS = "sparsekit.inference.triton_rows"


def constant_fan_in(dtype: torch.dtype) -> SparseRows:
    """Return rows of five weights each, more than one program takes."""
    mask = torch.zeros(6, 30, dtype=torch.bool)
    return sparse_rows(
        torch.randn(6, 30), mask.scatter(1, torch.rand(6, 30).topk(5).indices, True), dtype=dtype
    )


def differing(dtype: torch.dtype) -> SparseRows:
    """Return rows of which the first is empty and the second full."""
    mask = torch.rand(6, 30) < 0.2
    mask[0], mask[1] = False, True
    return sparse_rows(torch.randn(6, 30), mask, dtype=dtype)


def wide() -> SparseRows:
    """Return rows whose indices need all of their 16 bits."""
    mask = torch.zeros(2, 65_536, dtype=torch.bool)
    mask[:, [0, 32_768, 65_535]] = True
    return sparse_rows(torch.randn(2, 65_536), mask)


def main() -> None:
    """Compare the kernel with PyTorch's own operations."""
    for name in [one for one in sys.modules if f"{one}.".startswith("triton.")]:
        if not name.startswith("triton._C"):
            del sys.modules[name]
    sys.modules.pop(ROWS, None)
    triton_rows = importlib.import_module(ROWS)

    torch.manual_seed(0)
    constant, narrow = constant_fan_in(torch.float32), constant_fan_in(torch.bfloat16)
    unequal = differing(torch.float32)
    cases = [(constant, 1), (constant, 70), (unequal, 1), (unequal, 3), (narrow, 3), (wide(), 1)]
    for number, (rows, batch) in enumerate(cases):
        x = torch.randn(batch, rows.num_columns).t()
        bias = torch.randn(rows.num_rows) if number % 2 else None
        residual = torch.randn(batch, rows.num_rows).t() if number % 3 else None
        rest = (bias, residual, "relu" if number % 2 else None)
        found, expected = (f(rows, x, *rest) for f in (triton_rows.multiply, by_pytorch))
        print(rows.values.dtype, batch, float((found - expected).abs().max()))


if __name__ == "__main__":
    main()
