"""Exact, resumable, shared experiments with sparse neural networks.

What a script or a notebook needs of finished results is here; docs/python-api.md shows it. Nothing
is imported before it is used: `import sparsekit` costs no PyTorch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from sparsekit import moved

if TYPE_CHECKING:
    from sparsekit.networks.stored import load as load
    from sparsekit.networks.stored import masks as masks
    from sparsekit.report.records import results as results

__all__ = ["load", "masks", "results"]

_HOMES = {
    "load": "sparsekit.networks.stored",
    "masks": "sparsekit.networks.stored",
    "results": "sparsekit.report.records",
}

moved.register()


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'sparsekit' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
