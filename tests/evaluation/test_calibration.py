"""Against values computed for the same table by independent code in float64, and identities."""

import pytest
import torch

from sparsekit.evaluation.calibration import (
    brier,
    classwise_error,
    equal_mass,
    equal_width,
    expected_error,
    fit_temperature,
    largest_error,
    negative_log_likelihood,
    probabilities,
    root_mean_square_error,
    top,
)

PROBABILITIES = torch.tensor(
    [
        [0.71, 0.19, 0.1], [0.56, 0.3, 0.14], [0.41, 0.34, 0.25], [0.92, 0.05, 0.03],
        [0.61, 0.2, 0.19], [0.35, 0.33, 0.32], [0.83, 0.12, 0.05], [1.0, 0.0, 0.0],
        [0.1, 0.86, 0.04], [0.24, 0.52, 0.24], [0.05, 0.14, 0.81], [0.27, 0.2, 0.53],
    ],
    dtype=torch.float64,
)  # fmt: skip
LABELS = torch.tensor([0, 0, 1, 0, 1, 0, 0, 0, 1, 2, 2, 0])
CONFIDENCE, CORRECT = top(PROBABILITIES, LABELS)


@pytest.mark.parametrize(
    ("num_bins", "error"), [(5, 0.214166666667), (10, 0.2625), (15, 0.335833333333)]
)
def test_the_expected_error(num_bins: int, error: float) -> None:
    bins = equal_width(CONFIDENCE, CORRECT, num_bins=num_bins)
    assert expected_error(bins) == pytest.approx(error, abs=1e-11)
    assert largest_error(bins) == pytest.approx(0.65)


def test_bins_of_equal_width() -> None:
    bins = equal_width(CONFIDENCE, CORRECT, num_bins=5)
    assert [one.count for one in bins] == [1, 4, 2, 5]
    assert [one.accuracy for one in bins] == [1.0, 0.25, 0.5, 1.0]
    assert [one.confidence for one in bins] == pytest.approx([0.35, 0.505, 0.66, 0.884])
    ten = equal_width(CONFIDENCE, CORRECT, num_bins=10)
    assert root_mean_square_error(ten) == pytest.approx(0.323698247687, abs=1e-11)


@pytest.mark.parametrize(
    ("num_bins", "counts", "error"),
    [
        (3, [4, 4, 4], 0.125833333333),
        (4, [3] * 4, 0.154166666667),
        (5, [3, 3, 2, 2, 2], 0.154166666667),
    ],
)
def test_bins_of_equal_mass(num_bins: int, counts: list[int], error: float) -> None:
    bins = equal_mass(CONFIDENCE, CORRECT, num_bins=num_bins)
    assert [one.count for one in bins] == counts
    assert expected_error(bins) == pytest.approx(error, abs=1e-11)


def test_edges_belong_to_the_bin_below_and_zero_to_the_first() -> None:
    confidence = torch.tensor([0.25, 0.5, 0.5, 0.75, 1.0, 0.0])
    correct = torch.tensor([1.0, 0.0, 1.0, 1.0, 1.0, 0.0])
    bins = equal_width(confidence, correct, num_bins=4)
    assert [one.count for one in bins] == [2, 2, 1, 1]
    assert expected_error(bins) == pytest.approx(0.166666666667)


def test_proper_scores() -> None:
    assert classwise_error(PROBABILITIES, LABELS, num_bins=10) == pytest.approx(0.191111111111)
    assert brier(PROBABILITIES, LABELS) == pytest.approx(0.3905)
    logits = PROBABILITIES.clamp(min=1e-12).log()
    assert negative_log_likelihood(logits, LABELS) == pytest.approx(0.669006940526, abs=1e-9)


def test_the_temperature_of_least_loss() -> None:
    logits = PROBABILITIES.clamp(min=1e-12).log()
    temperature = fit_temperature(logits, LABELS)
    assert temperature == pytest.approx(0.808696833067, abs=1e-6)
    assert negative_log_likelihood(logits / temperature, LABELS) == pytest.approx(0.66110749269)


def test_a_network_that_was_made_twice_as_sure_is_cooled_by_two() -> None:
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(4000, 5, generator=generator, dtype=torch.float64)
    labels = torch.multinomial(probabilities(logits), 1, generator=generator)[:, 0]
    once = fit_temperature(logits, labels)
    assert fit_temperature(2 * logits, labels) == pytest.approx(2 * once, rel=1e-9)
    assert once == pytest.approx(1, abs=0.1)


def test_of_equal_probabilities_the_first_class_is_predicted() -> None:
    probs = torch.full((3, 4), 0.25)
    confidence, correct = top(probs, torch.tensor([0, 1, 0]))
    assert correct.tolist() == [1, 0, 1]
    assert confidence.tolist() == [0.25] * 3
