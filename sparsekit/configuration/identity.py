"""Which part of a configuration decides results, and which runs are seeds of one another."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

from sparsekit.configuration.labels import RUN
from sparsekit.store.identity import KEY, canonical
from sparsekit.system.secrets import masked

NOT_IDENTITY = ("runtime", "cluster", "resources", "executor", "logger", "sweep", "label", "claims")


def identity_of(config: Mapping[Any, Any]) -> dict[str, Any]:
    """Return the part of a configuration that decides its results, with passwords masked."""
    return {name: masked(value, name) for name, value in deciding(config).items()}


def deciding(config: Mapping[Any, Any]) -> dict[str, Any]:
    """Return the part of a configuration that decides its results."""
    return {str(k): v for k, v in config.items() if k not in NOT_IDENTITY}


def variant_of(written: Mapping[Any, Any], labels: Mapping[str, str]) -> str:
    """Return a digest of a configuration, interpolations unresolved, without seed and sparsity.

    Keys of stored results (a source, a teacher, a ticket whose ratios are copied) may be others for
    every seed. Where a run has a label of its own, it takes their place: runs of one label that
    start from a network of their own seed are one variant.
    """
    kept = {k: v for k, v in identity_of(written).items() if k not in ("seed", "sparsity")}
    text = canonical(kept)
    if RUN in labels:
        text, num_keys = KEY.subn("", text)
        text += f" {labels[RUN]}" if num_keys else ""
    return hashlib.sha256(text.encode()).hexdigest()[:8]
