import math

import pytest

from sparsekit.tasks.metric import ACCURACY, Metric


@pytest.mark.parametrize(
    ("metric", "value", "text", "quality", "error"),
    [
        (ACCURACY, 0.97123, "97.12 %", 0.97123, 1 - 0.97123),
        (Metric("r2", "max"), -0.5, "-0.5000", -0.5, 1.5),
        (Metric("perplexity", "min"), 12.34567, "12.3457", -12.34567, 12.34567),
        (Metric("mse", "min"), 0.0, "0.0000", 0.0, 0.0),
        (Metric("mse", "min"), 31234.0, "3.123e+04", -31234.0, 31234.0),
        (Metric("mse", "min"), math.inf, "inf", -math.inf, math.inf),
    ],
)
def test_a_value_is_printed_and_turned_as_its_direction_says(metric, value, text, quality, error):
    assert metric.text(value) == text
    assert metric.quality(value) == quality
    assert metric.as_error(value) == error


@pytest.mark.parametrize(("direction", "expected"), [("max", False), ("min", True)])
def test_better_follows_the_direction_and_is_strict(direction, expected):
    metric = Metric("m", direction)
    assert metric.better(1.0, 2.0) is expected
    assert metric.better(2.0, 1.0) is not expected
    assert not metric.better(1.0, 1.0)
    assert not metric.better(math.nan, 1.0)
    assert not metric.better(1.0, math.nan)


def test_a_direction_or_style_that_does_not_exist_is_refused():
    with pytest.raises(ValueError, match="direction='up': must be one of max, min"):
        Metric("m", "up")
    with pytest.raises(ValueError, match="style='bold': must be one of percent, number"):
        Metric("m", "max", "bold")
