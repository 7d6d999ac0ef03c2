"""How the numbers of a result are read: which metric is primary, its unit, and its direction."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, TypeGuard

from sparsekit.report.spread import Spread
from sparsekit.tasks.metric import ACCURACY, Metric

SPLITS = ("train", "val", "test")
LOWER = "lower is better"
WORDS = {"train": "training", "val": "validation"}


def metric_of(metrics: Mapping[str, Any]) -> Metric:
    """Return the primary metric of a result; stores that do not name one measured accuracy.

    ValueError for an entry that names none.
    """
    primary = metrics.get("primary")
    if primary is None:
        return ACCURACY
    try:
        return Metric(primary["name"], primary["direction"], primary["style"])
    except (KeyError, TypeError) as error:
        raise ValueError(f"primary={primary!r} must say name, direction and style") from error


def header(metric: Metric, split: str) -> str:
    """Name a column or an axis: the metric of a split, with unit and direction.

    >>> header(ACCURACY, "val"), header(Metric("perplexity", "min"), "test")
    ('validation accuracy (%)', 'test perplexity (lower is better)')
    """
    notes = ["%"] if metric.style == "percent" else []
    notes += [LOWER] if metric.direction == "min" else []
    bracket = f" ({', '.join(notes)})" if notes else ""
    return f"{WORDS.get(split, split)} {metric.name}{bracket}"


def scale(metric: Metric) -> int:
    """Return what values are multiplied by when they are shown: 100 for shares of 1."""
    return 100 if metric.style == "percent" else 1


def unit(metric: Metric) -> str:
    """Name what shown values are in: percent, or the metric itself.

    >>> unit(ACCURACY), unit(Metric("perplexity", "min"))
    ('%', 'perplexity')
    """
    return "%" if metric.style == "percent" else metric.name


def amount(metric: Metric, value: float) -> str:
    """Print a distance between two values, with its unit.

    >>> amount(ACCURACY, 0.01), amount(Metric("perplexity", "min"), 0.5)
    ('1 %', '0.5 perplexity')
    """
    return f"{scale(metric) * value:g} {unit(metric)}"


def written(metric: Metric, spread: Spread | None, *, sign: bool = False) -> str:
    """Print a mean and its deviation as values of the metric; the header has the unit.

    >>> written(ACCURACY, Spread(0.83, 0.036, 3)), written(Metric("mse", "min"), Spread(2, None, 1))
    ('83.00 +- 3.60', '2.0000')
    """
    if spread is None:
        return ""
    if metric.style == "percent":
        return spread.text(scale=100, sign=sign)
    return number(spread, sign=sign, small=metric.text(spread.mean))


def number(spread: Spread, *, sign: bool = False, small: str | None = None) -> str:
    """Print a mean and its deviation of a number whose size is not known in advance.

    >>> number(Spread(123456.7, None, 1)), number(Spread(0.5, 0.25, 2))
    ('1.235e+05', '0.5000 +- 0.2500')
    """
    text = Metric("", "max").text(spread.mean) if small is None else small
    return spread.text(sign=sign, form=".3e" if "e" in text else ".4f")


def is_measured(name: str, value: object) -> bool:
    """Tell whether an entry of a result is a metric of a split: `val_accuracy`, `test_loss`."""
    prefix, _, metric = name.partition("_")
    return is_number(value) and bool(metric) and prefix in SPLITS


def is_number(value: object) -> TypeGuard[float]:
    """Tell whether a value is a number, which true and false are not."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def measured_names(results: Iterable[Mapping[str, Any]]) -> list[str]:
    """Return the metrics of splits that any result has, in order of appearance."""
    names = (n for metrics in results for n, value in metrics.items() if is_measured(n, value))
    return list(dict.fromkeys(names))
