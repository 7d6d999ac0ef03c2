"""How the fits of one cycle differ: settings of a fit, changed by name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

Variation = Mapping[str, Any]
OF_FITS = ("particle", "seed", "epochs", "retrain")
OF_TRAINING = {
    "weight_decay": ("optimizer", "weight_decay"),
    "peak": ("schedule", "peak"),
}
VARIABLE = (*OF_FITS, *OF_TRAINING)


def varied(settings: Mapping[str, Any], variation: Variation) -> dict[str, Any]:
    """`settings` of a fit with what `variation` names replaced; those of the training in place.

    ValueError where optimizer or schedule have no such argument.

    >>> settings = {"particle": 0, "train": {"optimizer": {"_target_": "a.b", "weight_decay": 0}}}
    >>> varied(settings, {"particle": 1, "weight_decay": 0.1})["train"]
    {'optimizer': {'_target_': 'a.b', 'weight_decay': 0.1}}
    """
    changed = {**settings, **{k: v for k, v in variation.items() if k in OF_FITS}}
    for name, (leaf, argument) in OF_TRAINING.items():
        if name in variation:
            changed["train"] = _replaced(changed["train"], leaf, argument, variation[name])
    return changed


def _replaced(train: Mapping[str, Any], leaf: str, argument: str, value: float) -> dict[str, Any]:
    if argument not in train[leaf]:
        valid = ", ".join(sorted(set(train[leaf]) - {"_target_"}))
        raise ValueError(
            f"variations vary {argument}, but train.{leaf}={train[leaf]['_target_']} has only "
            f"{valid}"
        )
    return {**train, leaf: {**train[leaf], argument: value}}
