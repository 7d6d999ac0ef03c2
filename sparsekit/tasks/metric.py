"""How one number is read: which way is better, and how it is printed. Standard library only."""

import math
from dataclasses import dataclass
from typing import Literal, get_args

Direction = Literal["max", "min"]
Style = Literal["percent", "number"]


@dataclass(frozen=True)
class Metric:
    """Say how the values of one metric compare and print.

    name: as in the results, without the split: `accuracy` for `val_accuracy`.
    direction: `max` where more is better, `min` where less is.
    style: `percent` for shares of 1, `number` for everything else.

    Raises ValueError for another direction or style.
    """

    name: str
    direction: Direction
    style: Style = "number"

    def __post_init__(self) -> None:
        for field, valid in (("direction", get_args(Direction)), ("style", get_args(Style))):
            value = getattr(self, field)
            if value not in valid:
                raise ValueError(f"{field}={value!r}: must be one of {', '.join(valid)}")

    def better(self, one: float, other: float) -> bool:
        """Tell whether `one` is strictly better than `other`; never where either is not a number.

        >>> Metric("loss", "min").better(0.1, 0.2)
        True
        """
        return one > other if self.direction == "max" else one < other

    def text(self, value: float) -> str:
        """Print a value.

        >>> ACCURACY.text(0.97123), Metric("loss", "min").text(0.43123)
        ('97.12 %', '0.4312')
        >>> Metric("mse", "min").text(0.000012345), Metric("perplexity", "min").text(123456.7)
        ('1.234e-05', '1.235e+05')
        """
        if self.style == "percent":
            return f"{100 * value:.2f} %"
        fits = value == 0 or 1e-3 <= abs(value) < 1e4 or not math.isfinite(value)
        return f"{value:.4f}" if fits else f"{value:.3e}"

    def quality(self, value: float) -> float:
        """Turn a value into one of which more is always better, for comparisons and weights."""
        return value if self.direction == "max" else -value

    def as_error(self, value: float) -> float:
        """Turn a value into one of which less is always better: what is missing to 1, or itself."""
        return 1 - value if self.direction == "max" else value


ACCURACY = Metric("accuracy", "max", "percent")
"""The primary metric of results that do not name one."""
