import math
import pickle

import pytest
import torch
from torch.nn.functional import cross_entropy

from sparsekit.tasks.classification import classification
from sparsekit.tasks.types import Metric, Task, add

LOGITS = torch.tensor([[0.0, math.log(3)], [math.log(3), 0.0], [0.0, 0.0]])
LABELS = torch.tensor([1, 1, 0])  # probabilities of the labels: 3/4, 1/4, 1/2


def test_measures_by_hand():
    measured = classification().measure(LOGITS, LABELS)
    loss, count = measured["loss"]
    assert count == 3
    assert loss == pytest.approx(-math.log(3 / 4) - math.log(1 / 4) - math.log(1 / 2), rel=1e-6)
    assert measured["accuracy"] == (2, 3)  # a tie goes to the lower class


def test_the_loss_is_a_mean_and_only_it_is_smoothed():
    task = classification(label_smoothing=0.2)
    nll = -math.log(3 / 4) - math.log(1 / 4) - math.log(1 / 2)
    both = -(math.log(3 / 4) + math.log(1 / 4)) * 2 - 2 * math.log(1 / 2)
    assert float(task.loss(LOGITS, LABELS)) == pytest.approx(
        (0.8 * nll + 0.2 * both / 2) / 3, rel=1e-6
    )
    assert task.measure(LOGITS, LABELS) == classification().measure(LOGITS, LABELS)


def test_the_arithmetic_is_that_of_plain_cross_entropy_bit_for_bit():
    torch.manual_seed(0)
    logits, labels = torch.randn(64, 10).bfloat16(), torch.randint(10, (64,))
    expected = float(cross_entropy(logits.float(), labels, reduction="sum"))
    assert classification().measure(logits, labels)["loss"] == (expected, 64)
    plain = torch.randn(64, 10)
    assert torch.equal(classification().loss(plain, labels), cross_entropy(plain, labels))


def test_any_partition_into_batches_measures_the_same():
    torch.manual_seed(1)
    logits, labels = torch.randn(50, 4), torch.randint(4, (50,))
    task = classification()
    whole = task.metrics(add([task.measure(logits, labels)]))
    sizes = [1, 7, 20, 22]
    parts = zip(logits.split(sizes), labels.split(sizes), strict=True)
    split = task.metrics(add([task.measure(*part) for part in parts]))
    assert split["accuracy"] == whole["accuracy"]
    assert split["loss"] == pytest.approx(whole["loss"], rel=1e-6)


def test_an_ensemble_averages_probabilities():
    one, other = torch.tensor([[0.0, math.log(3)]]), torch.tensor([[math.log(4), 0.0]])
    mean = classification().mean_prediction([one, other]).softmax(1)
    expected = torch.tensor([[(1 / 4 + 4 / 5) / 2, (3 / 4 + 1 / 5) / 2]])
    torch.testing.assert_close(mean, expected)
    assert torch.equal(classification().mean_prediction([one]), one)


def test_soften_and_classes():
    task = classification()
    assert torch.equal(task.soften(LOGITS, 2.0), LOGITS / 2)
    assert torch.equal(task.classes(LABELS), LABELS)


@pytest.mark.parametrize("use", ["loss", "measure", "check"])
@pytest.mark.parametrize(
    ("outputs", "targets", "message"),
    [
        ((LOGITS, LOGITS), LABELS, "not a tuple; wrap the network"),
        ({"logits": LOGITS}, LABELS, "not a dict; wrap the network"),
        (torch.zeros(3, 5, 2), LABELS, r"tensor \[B, C\], not torch.float32 \[3, 5, 2\]"),
        (torch.zeros(3), LABELS, r"not torch.float32 \[3\]"),
        (torch.zeros(2, 2), LABELS, "2 rows of logits do not fit 3 labels"),
        (torch.zeros(3, 2).long(), LABELS, r"not torch.int64 \[3, 2\]"),
        (LOGITS, LABELS.float(), r"labels must be int64 \[B\], .*not torch.float32 \[3\]"),
        (torch.zeros(3, 5, 2), torch.zeros(3, 5).long(), r"not torch.int64 \[3, 5\]"),
    ],
)
def test_outputs_and_targets_of_another_kind_are_refused(use, outputs, targets, message):
    task = classification()
    arguments = (2,) if use == "check" else ()
    with pytest.raises(ValueError, match=message):
        getattr(task, use)(outputs, targets, *arguments)


def test_the_check_compares_outputs_and_labels_with_the_classes():
    task = classification()
    task.check(LOGITS, LABELS, 2)
    with pytest.raises(ValueError, match="2 outputs, the data set has 3 classes"):
        task.check(LOGITS, LABELS, 3)
    with pytest.raises(ValueError, match="5 outputs, the data set has 2 classes"):
        task.check(torch.zeros(3, 5), LABELS, 2)
    with pytest.raises(ValueError, match=r"labels from 0 to 2: must lie in 0 .. 1"):
        task.check(LOGITS, torch.tensor([0, 2, 1]), 2)


def test_a_task_survives_pickling():
    task = pickle.loads(pickle.dumps(classification(label_smoothing=0.1)))
    assert torch.equal(
        task.loss(LOGITS, LABELS), classification(label_smoothing=0.1).loss(LOGITS, LABELS)
    )
    assert task.primary == classification().primary


@pytest.mark.parametrize("label_smoothing", [-0.1, 1.0])
def test_label_smoothing_outside_its_range_is_refused(label_smoothing):
    with pytest.raises(ValueError, match=f"label_smoothing={label_smoothing}"):
        classification(label_smoothing=label_smoothing)


def test_metrics_refuse_an_empty_measure_and_a_missing_primary():
    task = classification()
    for nothing in ({}, {"loss": (0.0, 0)}, {"accuracy": (1, 1)}):
        with pytest.raises(ValueError, match="nothing was measured"):
            task.metrics(nothing)
    other = Task(loss=task.loss, measure=task.measure, primary=Metric("r2", "max"))
    with pytest.raises(ValueError, match="'r2' was not measured; there are loss, accuracy"):
        other.metrics({"loss": (1.0, 1), "accuracy": (1, 1)})


def test_what_no_example_has_is_not_a_number():
    metrics = classification().metrics({"loss": (1.0, 2), "accuracy": (1, 2), "recall": (0, 0)})
    assert math.isnan(metrics.pop("recall"))
    assert metrics == {"loss": 0.5, "accuracy": 0.5}


def test_summarise_turns_means_into_what_is_shown():
    task = Task(
        loss=classification().loss,
        measure=classification().measure,
        primary=Metric("perplexity", "min"),
        summarise=lambda means: {**means, "perplexity": math.exp(means["loss"])},
    )
    assert task.metrics({"loss": (4.0, 2)}) == {"loss": 2.0, "perplexity": math.exp(2)}
