"""The studies of one network, of a run: what they say is what their definitions give."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

from sparsekit.core.prune import apply
from sparsekit.evaluation.calibration import (
    brier,
    equal_width,
    expected_error,
    negative_log_likelihood,
    probabilities,
    top,
)
from sparsekit.method.evaluations import _shuffled
from sparsekit.networks.network import stored_network
from sparsekit.runs.runner import PreparedRun, run_prepared
from sparsekit.store.tensors import load_network

NAMES = ("calibration", "classes", "other_data", "attacks", "faults", "hessian_trace")
Tiny = Callable[..., PreparedRun]


def studied(tiny: Tiny, *asked: str) -> tuple[PreparedRun, dict[str, Any]]:
    studies = ",".join(f"{{_target_:sparsekit.method.evaluations.{name}}}" for name in NAMES)
    job = tiny("method=one_shot", "sparsity=0.9", f"method.studies=[{studies}]", *asked)
    return job, run_prepared(job, "test")["rows"][-1]


def test_they_say_what_their_definitions_give(tiny: Tiny) -> None:
    job, row = studied(tiny)
    assert row["skipped_studies"] == {}
    found = {name: job.store.read(key, "study.json") for name, key in row["studies"].items()}
    judge = job.judge.on(stored_network(job.store, row["ticket"]))
    state = apply(*load_network(job.store, row["ticket"]))
    pairs = list(judge.outputs(state, "test"))
    logits, labels = (torch.cat(one) for one in zip(*pairs, strict=True))
    metrics = job.store.read(row["ticket"], "metrics.json")
    probs = probabilities(logits)

    sure = found["calibration"]
    assert sure["num_examples"] == len(labels)
    assert sure["accuracy"] == pytest.approx(metrics["test_accuracy"])
    assert sure["nll"] == pytest.approx(negative_log_likelihood(logits, labels))
    assert sure["nll"] == pytest.approx(metrics["test_loss"], rel=1e-5)
    assert sure["brier"] == pytest.approx(brier(probs, labels))
    assert sure["ece"] == pytest.approx(expected_error(equal_width(*top(probs, labels))))
    assert sum(one["count"] for one in sure["bins"]) == len(labels)

    of_classes = found["classes"]
    assert of_classes["top_1"] == pytest.approx(metrics["test_accuracy"])
    assert of_classes["top_1"] < of_classes["top_5"] <= 1
    recalls = [one["recall"] for one in of_classes["classes"]]
    assert of_classes["worst"] == min(recalls)
    shares = torch.bincount(labels, minlength=10) / len(labels)
    assert float((torch.tensor(recalls) * shares).sum()) == pytest.approx(of_classes["top_1"])

    attacked = found["attacks"]
    assert attacked["accuracy"] == pytest.approx(metrics["test_accuracy"])
    assert attacked["zero_gradients"] < 0.1
    assert attacked["at_radius_1"] < 0.05
    small, large = attacked["radii"]
    assert attacked["accuracy"] >= small["fgsm"] >= small["worst"] >= large["worst"]

    rates = found["faults"]["rates"]
    assert [one["name"] for one in rates] == ["1e-06", "1e-05", "0.0001"]
    assert rates[0]["num_flipped"] <= rates[2]["num_flipped"] > 0

    assert found["other_data"]["noise"]["max_softmax"]["auroc"] > 0.5
    assert set(found["other_data"]) == {"split", "num_examples", "noise", "patches"}

    curved = found["hessian_trace"]
    assert curved["trace"] > 0
    assert curved["num_weights"] == metrics["num_kept"]
    assert curved["error"] <= 0.05 * curved["trace"] or curved["num_probes"] == 100


def test_of_a_regression_those_of_classes_say_why_not(tiny: Tiny) -> None:
    _, row = studied(tiny, "task=regression", "data=diabetes", "model=mlp", "train=diabetes")
    assert set(row["skipped_studies"]) == {"calibration", "classes", "other_data", "attacks"}
    assert row["skipped_studies"]["classes"].startswith("needs a classification")


def test_patches_are_those_of_the_image() -> None:
    images = torch.arange(2 * 3 * 8 * 8.0).reshape(2, 3, 8, 8)
    mixed = _shuffled(images, torch.Generator().manual_seed(0))
    assert mixed.shape == images.shape
    assert not mixed.equal(images)
    corners = {float(one) for one in images[0, 0, ::2, ::2].flatten()}
    assert {float(one) for one in mixed[0, 0, ::2, ::2].flatten()} == corners
    # Within a patch nothing moves, and channels move together.
    assert (mixed[:, :, ::2, 1::2] - mixed[:, :, ::2, ::2]).eq(1).all()
    assert (mixed[:, 1] - mixed[:, 0]).eq(64).all()
