"""Training compute of networks that become sparser on the way.

A step costs in proportion to the weights that are kept: the usual count of 6 operations per
parameter and image, without what is never pruned.
"""

import functools
from collections.abc import Callable


@functools.lru_cache(maxsize=64)
def average_density(schedule: Callable[..., float], *, start: float, stop: float) -> float:
    """Return the mean of 1 - sparsity while `schedule` moves from sparsity `start` to `stop`.

    The trapezoid rule over 1,000 parts of the ramp.

    >>> from sparsekit.core import schedules
    >>> round(average_density(schedules.cubic, start=0.0, stop=0.8), 4)
    0.4
    """
    parts = 1000
    values = [schedule(i, start=start, stop=stop, steps=parts) for i in range(parts + 1)]
    return 1 - (sum(values) - (values[0] + values[-1]) / 2) / parts


def parts_of_steps(
    begin: float, until: float, *, before: float, ramp: float, after: float
) -> tuple[float, float]:
    """Return at which fractions of the steps the fractions `begin` and `until` of the compute end.

    A step costs `before` in the first part, `ramp` on average in the second, `after` in the third.
    Pruning between 25 % and 75 % of the training compute, not of the steps, was found best by Jin
    et al. 2025 ("The Journey Matters").

    >>> begin, until = parts_of_steps(0.25, 0.75, before=1.0, ramp=0.5, after=0.25)
    >>> round(begin, 4), round(until, 4)
    (0.1111, 0.5556)
    """
    steps = (begin / before, (until - begin) / ramp, (1 - until) / after)
    return steps[0] / sum(steps), (steps[0] + steps[1]) / sum(steps)
