import math
import pickle

import pytest
import torch

from sparsekit.tasks.several_labels import several_labels
from sparsekit.tasks.types import add

# Order of the labels by score: 2, 0, 1, 3 and, with a tie of 0 and 2, 1, 0, 2, 3.
LOGITS = torch.tensor([[1.0, 0.5, 2.0, -1.0], [0.0, 1.0, 0.0, -1.0]])
TARGETS = torch.tensor([[1.0, 0.0, 0.0, 1.0], [1.0, 1.0, 0.0, 0.0]])
TASK = several_labels(k=(1, 2, 3))


def shown(logits, targets, sizes=None, task=TASK):
    sizes = sizes or [len(targets)]
    parts = zip(logits.split(sizes), targets.split(sizes), strict=True)
    return task.metrics(add([task.measure(*part) for part in parts]))


def test_precision_by_hand_with_a_tie():
    metrics = shown(LOGITS, TARGETS)
    assert metrics["precision_at_1"] == (0 + 1) / 2
    assert metrics["precision_at_2"] == (1 / 2 + 2 / 2) / 2  # the tied label 0 comes before 2
    assert metrics["precision_at_3"] == pytest.approx((1 / 3 + 2 / 3) / 2)


def test_the_loss_by_hand():
    def cross_entropy(logit, target):
        return math.log1p(math.exp(-logit if target else logit))

    pairs = zip(LOGITS.flatten().tolist(), TARGETS.flatten().tolist(), strict=True)
    mean = sum(cross_entropy(*pair) for pair in pairs) / 8
    assert float(TASK.loss(LOGITS, TARGETS)) == pytest.approx(mean, rel=1e-6)
    assert shown(LOGITS, TARGETS)["loss"] == pytest.approx(mean, rel=1e-6)


def test_the_first_k_is_the_primary_metric():
    assert several_labels(k=(3, 1)).primary.name == "precision_at_3"
    assert several_labels().primary.text(0.5) == "50.00 %"


def test_any_partition_into_batches_gives_the_same():
    torch.manual_seed(1)
    logits, targets = torch.randn(50, 6), torch.randint(2, (50, 6)).float()
    whole = shown(logits, targets)
    for sizes in ([25, 25], [1, 49], [1, 7, 20, 22]):
        assert shown(logits, targets, sizes) == {
            name: pytest.approx(value, rel=1e-12) for name, value in whole.items()
        }


def test_an_ensemble_averages_probabilities_label_by_label():
    one, other = torch.tensor([[math.log(3), 0.0]]), torch.tensor([[-math.log(3), math.log(3)]])
    mean = TASK.mean_prediction([one, other]).sigmoid()
    torch.testing.assert_close(mean, torch.tensor([[0.5, 0.625]]))
    assert torch.equal(TASK.mean_prediction([LOGITS]), LOGITS)
    softened = TASK.soften(LOGITS, 2.0)
    assert softened.shape == (*LOGITS.shape, 2)
    assert torch.allclose(softened.softmax(-1)[..., 0], (LOGITS / 2).sigmoid())
    assert TASK.classes is None


@pytest.mark.parametrize("use", ["loss", "measure", "check"])
@pytest.mark.parametrize(
    ("outputs", "targets", "message"),
    [
        (LOGITS, torch.tensor([0, 1]), r"targets .* \[B, L\], not torch.int64 \[2\]"),
        (LOGITS, TARGETS.long(), "not torch.int64"),
        (LOGITS[0], TARGETS, r"logits .* \[B, L\], not torch.float32 \[4\]"),
        ([LOGITS], TARGETS, "not a list; wrap the network"),
        (LOGITS[:, :3], TARGETS, r"\[2, 3\] do not fit targets \[2, 4\]"),
    ],
)
def test_outputs_and_targets_of_another_kind_are_refused(use, outputs, targets, message):
    arguments = (4,) if use == "check" else ()
    with pytest.raises(ValueError, match=message):
        getattr(TASK, use)(outputs, targets, *arguments)


def test_the_check_looks_at_number_and_values():
    TASK.check(LOGITS, TARGETS, 4)
    with pytest.raises(ValueError, match="4 outputs, the data set has 5 labels"):
        TASK.check(LOGITS, TARGETS, 5)
    with pytest.raises(ValueError, match="must be 0 or 1"):
        TASK.check(LOGITS, 2 * TARGETS, 4)
    with pytest.raises(ValueError, match=r"k=\[1, 3, 5\]: there are only 4 labels"):
        several_labels().check(LOGITS, TARGETS, 4)


@pytest.mark.parametrize("k", [(), (0, 1), (2, 2)])
def test_k_must_name_different_numbers(k):
    with pytest.raises(ValueError, match="must name different numbers"):
        several_labels(k=k)


def test_it_survives_pickling():
    assert shown(LOGITS, TARGETS, task=pickle.loads(pickle.dumps(TASK))) == shown(LOGITS, TARGETS)
