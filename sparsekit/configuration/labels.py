"""Display names: what tables and pictures call a method, or one run of a sweep.

They are taken out of a configuration before anything is derived from it: a run that is called
something else is the same run.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sparsekit.configuration.config import ConfigError

LABEL = "label"
METHOD, RUN = "method", "run"
"""Whose display name it is: that of a method's file, or one that was given to the run."""

WRITTEN = re.compile(rf"^{LABEL}: *(?P<label>.*\S)", re.MULTILINE)


def take_method_label_(composed: Any) -> Any:
    """Take the display name of the method out of a composed configuration, and return it."""
    from omegaconf import OmegaConf

    method = composed.get("method")
    return method.pop(LABEL, None) if OmegaConf.is_dict(method) else None


def labels_of(
    given: Any, of_method: Any, choices: Mapping[str, str], groups: Mapping[str, Mapping[str, Path]]
) -> dict[str, str]:
    """Return the display names of a run that was called `given`, of the method that is chosen.

    A method's file that is made of another one does not inherit its name.
    """
    named = {METHOD: of_method, RUN: given}
    labels = {}
    for whose, label in named.items():
        if label is None:
            continue
        if isinstance(label, bool) or not isinstance(label, str | int | float):
            place = LABEL if whose == RUN else f"method.{LABEL}"
            raise ConfigError(f"{place}={label!r} is not a text")
        labels[whose] = str(label)
    if METHOD in labels and _is_inherited(labels[METHOD], choices[METHOD], groups[METHOD]):
        del labels[METHOD]
    return labels


def _is_inherited(label: str, choice: str, methods: Mapping[str, Path]) -> bool:
    own = methods.get(choice)
    if own is None or label_in(own) is not None:
        return False
    return label in {label_in(file) for file in methods.values()}


def label_in(file: Path) -> str | None:
    """Return the display name that is written in the file of a method; None if there is none."""
    found = WRITTEN.search(file.read_text(encoding="utf-8", errors="replace"))
    return found["label"].strip("\"'") if found else None
