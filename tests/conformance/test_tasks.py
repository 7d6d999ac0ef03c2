"""Every method runs on every kind of task, or says before the first step why it cannot."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import pytest

from sparsekit.configuration.config import ConfigError
from sparsekit.core.counts import budget
from sparsekit.runs.runner import PreparedRun, rehearse_all
from sparsekit.store.tensors import load_network
from tests.conformance.conftest import Undisturbed
from tests.conformance.test_methods import METHODS, TEXT, left_over
from tests.conftest import short

PROBLEMS = {
    "r2": ("data=diabetes", "train=diabetes"),
    "bits_per_byte": TEXT,
    "precision_at_1": ("data=digit_pairs", "data.pairs_per_digit=1"),
}
REFUSED = {
    ("synflow", "bits_per_byte"): "such as token ids",
    ("grasp", "r2"): "temperature=200 divides logits",
    ("ste", "r2"): r"has 10 inputs, .* m=4; .*prunable.exclude=\[",
    ("sr_ste", "r2"): r"has 10 inputs, .* m=4; .*prunable.exclude=\[",
}
SEVERAL_LABELS = ("imp", "rigl", "snip", "soup", "synflow")  # the others differ in nothing there
CASES = [
    (file, primary)
    for file in METHODS
    for primary in PROBLEMS
    if primary != "precision_at_1" or file.stem in SEVERAL_LABELS
]


@pytest.mark.parametrize(
    ("method", "primary"), CASES, ids=[f"{file.stem}, {primary}" for file, primary in CASES]
)
def test_it_runs_to_its_budget_or_is_refused_in_rehearsal(
    method: Path, primary: str, undisturbed: Undisturbed, tiny: Callable[..., PreparedRun]
) -> None:
    overrides = [*short(method), *PROBLEMS[primary]]
    if reason := REFUSED.get((method.stem, primary)):
        with pytest.raises(ConfigError, match=reason):
            rehearse_all([tiny(*overrides)])
        return
    store, tickets = undisturbed(overrides)
    metrics = store.read(tickets[-1], "metrics.json")
    assert metrics["primary"]["name"] == primary
    assert math.isfinite(metrics[f"test_{primary}"])
    _, masks = load_network(store, tickets[-1])
    total = sum(mask.numel() for mask in masks.values())
    kept = sum(int(mask.sum()) for mask in masks.values())
    assert metrics["num_kept"] == kept
    assert kept >= budget(total, 0.8) - left_over(tiny(*overrides), masks)
