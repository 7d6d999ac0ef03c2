"""What was asked for on the way to a run, beyond what tables show anyway."""

from __future__ import annotations

from collections.abc import Iterable

SHOWN_ELSEWHERE = (
    "seed", "method", "sparsity", "experiment", "label", "method.label", "claims", "sweep",
)  # fmt: skip
NOT_PART_OF_RESULTS = ("runtime", "cluster", "resources", "executor", "logger")


def asked(overrides: Iterable[str]) -> str:
    """Return the overrides that tell one kind of run from another, as they were typed.

    >>> asked(["seed=0", "+control=reinitialise", "runtime.threads=1"])
    '+control=reinitialise'
    """
    return " ".join(filter(_is_telling, overrides))


def settings(overrides: Iterable[str]) -> dict[str, str]:
    """Return the same by key.

    >>> settings(["seed=0", "+control=reinitialise"])
    {'control': 'reinitialise'}
    """
    return {key_of(text): text.partition("=")[2] for text in overrides if _is_telling(text)}


def key_of(override: str) -> str:
    """Return the key that an override sets, without its prefix."""
    return override.partition("=")[0].lstrip("+~")


def _is_telling(override: str) -> bool:
    key = key_of(override)
    return key not in SHOWN_ELSEWHERE and key.partition(".")[0] not in NOT_PART_OF_RESULTS
