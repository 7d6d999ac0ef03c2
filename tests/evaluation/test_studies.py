"""The studies of one network, of a run: what they say is what their definitions give."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from sparsekit.core.prune import apply
from sparsekit.core.types import State
from sparsekit.data.digits import digits
from sparsekit.evaluation.calibration import (
    brier,
    equal_width,
    expected_error,
    negative_log_likelihood,
    probabilities,
    top,
)
from sparsekit.evaluation.detection import SCORES, area_under_roc
from sparsekit.method.evaluations import _shuffled
from sparsekit.method.judge import Judge
from sparsekit.method.other_images import as_shape
from sparsekit.networks.network import stored_network
from sparsekit.runs.runner import PreparedRun, run_prepared
from sparsekit.store.tensors import load_network
from tests.conftest import tiny_run

FEW = "sparsekit.data.digits.digits,classes:[0,1],num_test:72"
NAMES = (
    "evaluations.calibration",
    "evaluations.classes",
    f"evaluations.other_data,other:{{_target_:{FEW}}}",
    "evaluations.attacks",
    "evaluations.faults",
    "evaluations.hessian_trace",
    "robustness.corruptions,num_examples:50,names:[contrast,shot_noise]",
)


def studied(root: Path, *asked: str) -> tuple[PreparedRun, dict[str, Any]]:
    studies = ",".join(f"{{_target_:sparsekit.method.{name}}}" for name in NAMES)
    overrides = ("method=one_shot", "sparsity=0.9", f"method.studies=[{studies}]", *asked)
    job = tiny_run(root, overrides)
    return job, run_prepared(job, "test")["rows"][-1]


@dataclasses.dataclass(frozen=True)
class Made:
    """A studied network of real digits, its answers on test, and what each study found."""

    judge: Judge
    state: State
    metrics: dict[str, Any]
    logits: Tensor
    labels: Tensor
    found: dict[str, Any]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    job, row = studied(tmp_path_factory.mktemp("studied"))
    assert row["skipped_studies"] == {}
    found = {name: job.store.read(key, "study.json") for name, key in row["studies"].items()}
    judge = job.judge.on(stored_network(job.store, row["ticket"]))
    state = apply(*load_network(job.store, row["ticket"]))
    logits, labels = (torch.cat(one) for one in zip(*judge.outputs(state, "test"), strict=True))
    metrics = job.store.read(row["ticket"], "metrics.json")
    return Made(judge, state, metrics, logits, labels, found)


def test_what_the_network_answers(made: Made) -> None:
    found, metrics, logits, labels = made.found, made.metrics, made.logits, made.labels
    probs = probabilities(logits)

    sure = found["calibration"]
    assert sure["num_examples"] == len(labels)
    assert sure["accuracy"] == pytest.approx(metrics["test_accuracy"])
    assert sure["nll"] == pytest.approx(negative_log_likelihood(logits, labels))
    assert sure["nll"] == pytest.approx(metrics["test_loss"], rel=1e-5)
    assert sure["brier"] == pytest.approx(brier(probs, labels))
    assert sure["ece"] == pytest.approx(expected_error(equal_width(*top(probs, labels))))
    assert sum(one["count"] for one in sure["bins"]) == len(labels)
    counts = [one["count"] for one in sure["bins_of_equal_mass"]]
    assert (len(counts), sum(counts), min(counts)) == (15, len(labels), len(labels) // 15)

    of_classes = found["classes"]
    assert of_classes["top_1"] == pytest.approx(metrics["test_accuracy"])
    assert of_classes["top_1"] < of_classes["top_5"] <= 1
    recalls = [one["recall"] for one in of_classes["classes"]]
    assert of_classes["worst"] == min(recalls)
    shares = torch.bincount(labels, minlength=10) / len(labels)
    assert float((torch.tensor(recalls) * shares).sum()) == pytest.approx(of_classes["top_1"])


def test_what_it_answers_to_changed_images(made: Made) -> None:
    found = made.found
    attacked = found["attacks"]
    assert attacked["accuracy"] == pytest.approx(made.metrics["test_accuracy"])
    assert attacked["zero_gradients"] < 0.1
    assert attacked["at_radius_1"] < 0.05
    small, large = attacked["radii"]
    assert attacked["accuracy"] >= small["fgsm"] >= small["worst"] >= large["worst"]

    under = found["corruptions"]
    assert under["num_examples"] == 50
    low, shot = under["corruptions"]
    assert list(low["severities"]) == ["1", "2", "3", "4", "5"]
    assert low["severities"]["5"] < low["severities"]["1"]
    places = [index * len(made.labels) // 50 for index in range(50)]
    right = (made.logits.argmax(1) == made.labels)[places]
    assert under["accuracy"] == pytest.approx(float(right.double().mean()))
    assert under["mean"] == pytest.approx((low["mean"] + shot["mean"]) / 2)
    assert {"snow", "fog"} < set(under["left_out"])


def test_other_data_and_other_weights(made: Made) -> None:
    found = made.found
    rates = found["faults"]["rates"]
    assert [one["name"] for one in rates] == ["1e-06", "1e-05", "0.0001"]
    assert rates[0]["num_flipped"] <= rates[2]["num_flipped"] > 0

    assert found["other_data"]["noise"]["max_softmax"]["auroc"] > 0.5
    assert set(found["other_data"]) == {
        "split", "num_examples", "noise", "patches", "digits", "other",
    }  # fmt: skip
    assert found["other_data"]["other"]["num_examples"] == 72
    mean, std = made.judge.pixel_scale()
    few = digits(Path(), classes=[0, 1], num_test=72).test.images
    strange = made.judge.model(made.state).eval()((few / 255 - mean) / std)
    score = SCORES["energy"]
    expected = area_under_roc(score(made.logits), score(strange))
    assert found["other_data"]["digits"]["energy"]["auroc"] == pytest.approx(expected, abs=1e-3)

    curved = found["hessian_trace"]
    assert curved["trace"] > 0
    assert curved["num_weights"] == made.metrics["num_kept"]
    assert curved["error"] <= 0.05 * curved["trace"] or curved["num_probes"] == 100


def test_of_a_regression_those_of_classes_say_why_not(tmp_path: Path) -> None:
    _, row = studied(tmp_path, "task=regression", "data=diabetes", "model=mlp", "train=diabetes")
    assert set(row["skipped_studies"]) == {
        "calibration", "classes", "other_data", "attacks", "corruptions",
    }  # fmt: skip
    assert row["skipped_studies"]["classes"].startswith("needs a classification")


def test_images_of_other_sizes_and_channels() -> None:
    grey = torch.rand(2, 1, 28, 28)
    large = as_shape(grey, torch.Size([3, 32, 32]))
    assert large.shape == (2, 3, 32, 32)
    assert large[:, 0].equal(large[:, 2])
    assert float(large.mean()) == pytest.approx(float(grey.mean()), abs=0.01)
    colour = torch.tensor([1.0, 0.5, 0.0]).view(1, 3, 1, 1).expand(1, 3, 8, 8)
    assert as_shape(colour, torch.Size([1, 4, 4])).tolist() == [
        [[[pytest.approx(0.299 + 0.5 * 0.587)] * 4] * 4]
    ]
    assert as_shape(grey, grey.shape[1:]).equal(grey)


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
