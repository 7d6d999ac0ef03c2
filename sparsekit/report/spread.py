"""Mean and standard deviation of one number over seeds."""

from __future__ import annotations

import dataclasses
import math
import statistics
from collections.abc import Iterable


@dataclasses.dataclass(frozen=True)
class Spread:
    """Mean and sample standard deviation of n values; with one value there is no deviation."""

    mean: float
    deviation: float | None
    count: int

    @classmethod
    def of(cls, values: Iterable[float]) -> Spread:
        """Take mean and deviation; of values that are not all finite only the mean is known.

        >>> Spread.of([1.0, float("inf")])
        Spread(mean=inf, deviation=None, count=2)
        """
        listed = list(values)
        is_known = len(listed) > 1 and all(map(math.isfinite, listed))
        try:
            deviation = statistics.stdev(listed) if is_known else None
            return cls(statistics.fmean(listed), deviation, len(listed))
        except OverflowError:
            return cls(math.inf, None, len(listed))

    @classmethod
    def of_all(cls, values: Iterable[float | None]) -> Spread | None:
        """Take the spread, or None if there are no values or one is missing: a mean over fewer
        seeds than the row has would not be what its n says.

        >>> Spread.of_all([0.5, None])
        >>> Spread.of_all([0.5])
        Spread(mean=0.5, deviation=None, count=1)
        """
        listed = list(values)
        known = [float(value) for value in listed if value is not None]
        return cls.of(known) if known and len(known) == len(listed) else None

    def text(self, *, scale: float = 1.0, sign: bool = False, form: str = ".2f") -> str:
        """Print it with two digits, or in another `form`; what rounds to 0 is not negative.

        >>> Spread.of([0.25, 0.75]).text(), Spread.of([-0.001]).text(sign=True)
        ('0.50 +- 0.35', '+0.00')
        """
        spread = "" if self.deviation is None else f" +- {scale * self.deviation:{form}}"
        return f"{scale * self.mean:{'+' if sign else ''}z{form}}{spread}"

    def percent(self) -> str:
        """Print shares of 1 in percent.

        >>> Spread.of([0.9, 0.92]).percent()
        '91.00 +- 1.41'
        """
        return self.text(scale=100)


def mean_and_std(spreads: Iterable[Spread | None]) -> list[float | None]:
    """Return two columns of a CSV for each spread, empty for what is not known.

    >>> mean_and_std([Spread(0.5, 0.1, 3), None])
    [0.5, 0.1, None, None]
    """
    parts = [(None, None) if s is None else (s.mean, s.deviation) for s in spreads]
    return [value for two in parts for value in two]
