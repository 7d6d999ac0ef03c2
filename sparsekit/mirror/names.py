"""What things are called in wandb: runs, groups, metrics. Names are functions of a run alone."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from sparsekit.report.asked import NOT_PART_OF_RESULTS, SHOWN_ELSEWHERE
from sparsekit.store.published import published_override

FOLDER, LIVE = "wandb", "live"
LONGEST, LONGEST_TAG = 128, 64
"""Characters that wandb accepts in ids and in the names of runs and groups, and in tags."""


def run_id(experiment: str, name: str) -> str:
    """Return the id of a run of an experiment, the same whenever and wherever it is run.

    >>> run_id("custom", "imp-seed4-1a2b3c4d")
    'imp-seed4-1a2b3c4d-custom'
    >>> len(run_id("custom", "a" * 200))
    128
    """
    plain = re.sub(r"[^A-Za-z0-9_.-]", "_", f"{name}-{experiment}")
    if plain == f"{name}-{experiment}" and len(plain) <= LONGEST:
        return plain
    digest = hashlib.sha256(f"{name}\0{experiment}".encode(errors="surrogateescape")).hexdigest()
    return f"{plain[: LONGEST - 13]}-{digest[:12]}"


def metric_name(text: str) -> str:
    """Return a name that every part of wandb can sort and filter by.

    >>> metric_name("fan_in/layer1.0.conv1.weight/min")
    'fan_in/layer1_0_conv1_weight/min'
    """
    return re.sub(r"[^A-Za-z0-9_/]", "_", text)


def live_folder(root: Path, identity: str) -> Path:
    """Return where the fits of a run write rows while they train."""
    return root / FOLDER / LIVE / identity


def shown_name(about: Mapping[str, str], overrides: Sequence[str]) -> str:
    """Return a name for people that no other run of the project has.

    >>> about = {"method": "imp", "seed": "4", "sparsity": "0.9", "name": "imp-seed4-1a2b3c4d"}
    >>> shown_name(about, ["method=imp", "train.epochs=3", "logger=wandb"])
    'imp train.epochs=3 sparsity 0.9 seed 4 1a2b3c4d'
    """
    asked = " ".join(published_override(text) for text in overrides if _tells_apart(text))
    digest = about["name"].rpartition("-")[2]
    last = f"sparsity {about['sparsity']} seed {about['seed']} {digest}"
    first = f"{about['method']} {asked}".strip()
    return f"{first[: LONGEST - 1 - len(last)]} {last}"


def _tells_apart(override: str) -> bool:
    key = override.partition("=")[0].lstrip("+~")
    return key not in SHOWN_ELSEWHERE and key.partition(".")[0] not in NOT_PART_OF_RESULTS


def group_of(about: Mapping[str, str]) -> str:
    """Return the group of a run: the runs of a sweep that differ in their seed alone.

    >>> group_of({"sweep": "first-1f2e", "method": "imp", "sparsity": "0.9"})
    'first-1f2e/imp/sparsity 0.9'
    """
    return f"{about['sweep']}/{about['method']}/sparsity {about['sparsity']}"[:LONGEST]
