"""The addresses of everything that every method computes, pinned.

A change here is a change of every stored result. Raise a version, or find out what was added to an
address by mistake; then `python -m tests.conformance.test_golden_plans` writes the file anew.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest

from sparsekit.configuration.compose import CONFIGS, compose_runs
from sparsekit.runs.planning import plan_run
from sparsekit.runs.runner import prepare_run

GOLDEN = Path(__file__).with_name("golden_plans.json")
METHODS = sorted(file.stem for file in (CONFIGS / "method").glob("*.yaml"))
ASKED = ("data=digits", "model=mlp", "train=digits", "logger=none", "seed=3")


def plan_of(method: str) -> dict[str, object]:
    """Return how many stages of each kind a method has, and a digest of their keys in order."""
    (run,) = compose_runs([f"method={method}", *ASKED])
    stages = plan_run(prepare_run(run))
    kinds = [stage.kind for stage in stages]
    keys = "\n".join(stage.key for stage in stages)
    counts = {kind: kinds.count(kind) for kind in dict.fromkeys(kinds)}
    return {**counts, "keys": hashlib.sha256(keys.encode()).hexdigest()[:20]}


@pytest.mark.parametrize("method", METHODS)
def test_the_whole_plan_of_a_method_keeps_its_addresses(method: str) -> None:
    assert json.loads(GOLDEN.read_text()).get(method) == plan_of(method)


def test_nothing_is_pinned_that_is_gone() -> None:
    assert sorted(json.loads(GOLDEN.read_text())) == METHODS


if __name__ == "__main__":
    plans = {method: plan_of(method) for method in METHODS}
    lines = [f"  {json.dumps(name)}: {json.dumps(plan)}" for name, plan in plans.items()]
    GOLDEN.write_text("{\n" + ",\n".join(lines) + "\n}\n")
