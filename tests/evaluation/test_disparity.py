"""Against values computed for the same tables by independent code."""

import math

import pytest
import torch

from sparsekit.evaluation.disparity import churn, class_disparities, exemplars, modal, recalls

DENSE = torch.tensor([[0, 1, 2, 1, 2, 1], [0, 1, 2, 0, 1, 1], [0, 2, 2, 0, 0, 1]])
SPARSE = torch.tensor([[0, 1, 2, 1, 2, 0], [0, 2, 2, 1, 2, 1], [0, 2, 2, 0, 1, 1]])


def test_exemplars_that_pruning_identifies() -> None:
    assert modal(DENSE).tolist() == [0, 1, 2, 0, 0, 1], "the lowest of three different ones"
    assert modal(SPARSE).tolist() == [0, 2, 2, 1, 2, 1]
    assert exemplars(DENSE, SPARSE).tolist() == [False, True, False, True, True, False]
    assert churn(DENSE, SPARSE) == pytest.approx(0.351851851852)


def test_recalls() -> None:
    predictions, labels = torch.tensor([0, 0, 1, 1]), torch.tensor([0, 1, 1, 1])
    found = recalls(predictions, labels, num_classes=3)
    assert found[:2] == pytest.approx([1.0, 2 / 3])
    assert math.isnan(found[2])


def test_classes_that_pay_more() -> None:
    dense, sparse = [[0.9, 0.8, 0.7], [0.92, 0.78, 0.72]], [[0.91, 0.7, 0.6], [0.9, 0.72, 0.62]]
    found = class_disparities(dense, [0.8, 0.81], sparse, [0.74, 0.75])
    assert [one.difference for one in found] == pytest.approx([0.055, -0.02, -0.04])
    assert min(one.recall_change for one in found) == pytest.approx(-0.1)
    # Three times the least p of Welch, and twice and once the next, never below the one before.
    ps = [0.069286173344, 0.292893218813, 0.105572809]
    assert [one.p for one in found] == pytest.approx([3 * ps[0], ps[1], 2 * ps[2]], rel=1e-6)


def test_one_network_is_no_group() -> None:
    (one,) = class_disparities([[0.9]], [0.9], [[0.8]], [0.8])
    assert math.isnan(one.p)
    assert one.recall_change == pytest.approx(-0.1)
