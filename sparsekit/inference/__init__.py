"""Sparse networks as they are used: layers, kernels, and what an export is read by.

Imports PyTorch and safetensors, nothing of training; and neither before it is used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sparsekit.inference.reading import load as load
    from sparsekit.inference.reading import weights as weights

__all__ = ["load", "weights"]


def __getattr__(name: str) -> Any:
    if name in __all__:
        from sparsekit.inference import reading

        return getattr(reading, name)
    raise AttributeError(f"module 'sparsekit.inference' has no attribute {name!r}")
