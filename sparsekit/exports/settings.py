"""What is asked of an export beside its format."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

from sparsekit.data.batches import Inputs

Run = Callable[[Inputs], Any]
"""A network that was opened again."""

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}


@dataclass(frozen=True)
class Settings:
    """`dtype` of the stored values by name; examples at once, and CPU threads, where it is run."""

    dtype: str = "float32"
    batch_size: int = 1
    threads: int = 1

    def __post_init__(self) -> None:
        if self.dtype not in DTYPES:
            raise ValueError(f"dtype={self.dtype} is none of {', '.join(DTYPES)}")
        for name in ("batch_size", "threads"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}={getattr(self, name)} must be at least 1")

    @property
    def values(self) -> torch.dtype:
        """Return the type of stored values."""
        return DTYPES[self.dtype]
