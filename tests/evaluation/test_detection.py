"""Against values computed for the same scores by independent code, and identities."""

import pytest
import torch

from sparsekit.evaluation.detection import (
    SCORES,
    area_under_precision,
    area_under_precision_of_others,
    area_under_roc,
    detection,
    false_positive_rate,
)

OWN = torch.tensor([0.99, 0.95, 0.9, 0.9, 0.8, 0.7, 0.6, 0.55, 0.4, 0.3])
OTHER = torch.tensor([0.92, 0.8, 0.65, 0.6, 0.5, 0.45, 0.4, 0.35, 0.3, 0.2])
LOGITS = torch.tensor([[2.0, 0.5, -1.0], [1.0, 1.0, 1.0], [-1.0, 3.0, 0.0]])


def test_areas_and_rates() -> None:
    assert area_under_roc(OWN, OTHER) == pytest.approx(0.72)
    assert false_positive_rate(OWN, OTHER) == pytest.approx(0.9)
    assert false_positive_rate(OWN, OTHER, true=0.8) == pytest.approx(0.4)
    assert area_under_precision(OWN, OTHER) == pytest.approx(0.745613180679)
    assert area_under_precision_of_others(OWN, OTHER) == pytest.approx(0.70062049062)


def test_it_matters_which_class_is_positive() -> None:
    assert false_positive_rate(-OTHER, -OWN) == pytest.approx(0.8)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("max_softmax", [0.785597034589, 0.333333333333, 0.936239551877]),
        ("max_logit", [2.0, 1.0, 3.0]),
        ("energy", [2.24131129666, 2.09861228867, 3.06588390376]),
        ("negative_entropy", [-0.621584604679, -1.09861228867, -0.274313073673]),
    ],
)
def test_scores(name: str, expected: list[float]) -> None:
    assert SCORES[name](LOGITS).tolist() == pytest.approx(expected)


def test_the_same_scores_cannot_be_told_apart_and_others_entirely() -> None:
    assert detection(OWN, OWN)["auroc"] == 0.5
    apart = {"auroc": 1.0, "fpr95": 0.0, "aupr_own": 1.0, "aupr_other": 1.0}
    assert detection(OWN + 1, OTHER) == pytest.approx(apart)


@pytest.mark.parametrize("count", [1, 19, 20, 21, 40, 1000])
def test_the_threshold_lets_whole_examples_through(count: int) -> None:
    """95 % of 20 are 19: a product in floating point would ask for 20."""
    own = torch.arange(count, 0, -1.0)
    least = -(-95 * count // 100)
    assert false_positive_rate(own, own) == pytest.approx(least / count)
