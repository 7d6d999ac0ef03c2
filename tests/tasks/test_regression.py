import math

import pytest
import torch
from sklearn.metrics import r2_score

from sparsekit.tasks.regression import regression
from sparsekit.tasks.types import add

OUTPUTS = torch.tensor([[1.0], [2.0], [6.0]])
TARGETS = torch.tensor([[1.0], [4.0], [4.0]])  # mean 3, squares about it 4 + 1 + 1
TASK = regression()


def shown(outputs, targets, sizes=None):
    sizes = sizes or [len(targets)]
    parts = zip(outputs.split(sizes), targets.split(sizes), strict=True)
    return TASK.metrics(add([TASK.measure(*part) for part in parts]))


def test_by_hand():
    assert float(TASK.loss(OUTPUTS, TARGETS)) == pytest.approx(8 / 3)
    metrics = shown(OUTPUTS, TARGETS)
    assert metrics == {"loss": pytest.approx(8 / 3), "r2": pytest.approx(1 - 8 / 6)}
    assert TASK.primary.name == "r2"
    assert TASK.primary.better(0.9, 0.5)


def test_several_targets_are_averaged_each_with_its_own_spread():
    outputs = torch.cat([OUTPUTS, 10 * TARGETS], dim=1)
    targets = torch.cat([TARGETS, 10 * TARGETS], dim=1)
    metrics = shown(outputs, targets)
    assert metrics["loss"] == pytest.approx(8 / 6)
    assert metrics["r2"] == pytest.approx((1 - 8 / 6 + 1) / 2)


def test_it_is_the_score_of_scikit_learn():
    torch.manual_seed(0)
    targets = torch.randn(200, 3) * torch.tensor([1.0, 5.0, 0.1]) + 3
    outputs = targets + torch.randn(200, 3)
    expected = r2_score(targets.double(), outputs.double())
    assert shown(outputs, targets)["r2"] == pytest.approx(expected, rel=1e-9)


def test_any_partition_into_batches_gives_the_same():
    torch.manual_seed(1)
    outputs, targets = torch.randn(50, 2), torch.randn(50, 2)
    whole = shown(outputs, targets)
    for sizes in ([25, 25], [1, 49], [1, 7, 20, 22]):
        assert shown(outputs, targets, sizes) == {
            name: pytest.approx(value, rel=1e-12) for name, value in whole.items()
        }


def test_a_constant_split_has_no_r2():
    targets = torch.full((7, 1), 0.1)
    assert math.isnan(shown(targets + 1, targets)["r2"])


def test_an_ensemble_averages_outputs():
    assert torch.equal(TASK.mean_prediction([OUTPUTS, TARGETS]), (OUTPUTS + TARGETS) / 2)
    assert torch.equal(TASK.mean_prediction([OUTPUTS]), OUTPUTS)


def test_what_only_logits_and_classes_have_is_missing():
    assert TASK.soften is None
    assert TASK.classes is None


@pytest.mark.parametrize("use", ["loss", "measure", "check"])
@pytest.mark.parametrize(
    ("outputs", "targets", "message"),
    [
        (OUTPUTS[:, 0], TARGETS, r"outputs .* \[B, D\], not torch.float32 \[3\]"),
        (OUTPUTS, TARGETS[:, 0], r"targets .* \[B, D\], not torch.float32 \[3\]"),
        (OUTPUTS, TARGETS.long(), "not torch.int64"),
        ((OUTPUTS, OUTPUTS), TARGETS, "not a tuple"),
        (OUTPUTS.expand(3, 2), TARGETS, r"\[3, 2\] do not fit targets \[3, 1\]"),
    ],
)
def test_shapes_that_would_be_broadcast_are_refused(use, outputs, targets, message):
    arguments = (1,) if use == "check" else ()
    with pytest.raises(ValueError, match=message):
        getattr(TASK, use)(outputs, targets, *arguments)


def test_the_check_looks_at_number_and_values():
    TASK.check(OUTPUTS, TARGETS, 1)
    with pytest.raises(ValueError, match="1 outputs, the data set has 2 targets"):
        TASK.check(OUTPUTS, TARGETS, 2)
    with pytest.raises(ValueError, match="must be finite"):
        TASK.check(OUTPUTS, torch.tensor([[1.0], [math.nan], [2.0]]), 1)
