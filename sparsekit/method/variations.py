"""How the fits of one cycle differ: settings of a fit, changed by name."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Mapping
from typing import Any

from sparsekit.core.fit_spec import FitSpec
from sparsekit.store.identity import describe

Variation = Mapping[str, Any]
OF_FITS = {
    "particle": "particle",
    "seed": "seed",
    "epochs": "epochs",
    "retrain": "retrain_schedule",
}
OF_TRAINING = {
    "weight_decay": ("optimizer", "weight_decay"),
    "peak": ("schedule", "peak"),
}
VARIABLE = (*OF_FITS, *OF_TRAINING)


def varied(spec: FitSpec, variation: Variation) -> FitSpec:
    """Return `spec` with what `variation` names replaced, in the fit or in its training.

    ValueError if the optimizer or the schedule has no such argument.
    """
    changed = {OF_FITS[name]: value for name, value in variation.items() if name in OF_FITS}
    train = spec.train
    for name, (leaf, argument) in OF_TRAINING.items():
        if name in variation:
            function = _rebound(getattr(train, leaf), leaf, argument, variation[name])
            train = dataclasses.replace(train, **{leaf: function})
    return dataclasses.replace(spec, train=train, **changed)


def _rebound(
    function: Callable[..., Any], leaf: str, argument: str, value: float
) -> Callable[..., Any]:
    described = describe(function)
    if argument not in described:
        valid = ", ".join(sorted(set(described) - {"_target_", "_source_"}))
        raise ValueError(
            f"variations vary {argument}, but train.{leaf}={described['_target_']} has only {valid}"
        )
    bound = function if isinstance(function, functools.partial) else functools.partial(function)
    return functools.partial(bound.func, **{**bound.keywords, argument: value})
