"""Values that move from `start` to `stop` over `steps`, and the question when to act.

Each is a function of (step, start, stop, steps): `start` at step 0 and before, exactly `stop` at
`steps` and after. They serve sparsities (0 -> 0.9) and drop fractions (0.3 -> 0) alike.
"""

import math


def constant(step: int, start: float, stop: float, steps: int) -> float:
    """Hold `start`, then switch to `stop` at `steps`.

    >>> [constant(step, start=0.3, stop=0.0, steps=10) for step in (0, 9, 10)]
    [0.3, 0.3, 0.0]
    """
    return stop if _progress(step, steps) == 1 else start


def unchanged(step: int, start: float, stop: float, steps: int) -> float:
    """Hold `start` for good; `stop` is never reached.

    >>> [unchanged(step, start=0.3, stop=0.0, steps=10) for step in (0, 10)]
    [0.3, 0.3]
    """
    return start


def linear(step: int, start: float, stop: float, steps: int) -> float:
    """Move in equal steps: start + (stop - start) * u, u = step / steps.

    >>> linear(5, start=0.0, stop=0.5, steps=10)
    0.25
    """
    return _between(start, stop, _progress(step, steps))


def cosine(step: int, start: float, stop: float, steps: int) -> float:
    """Move along half a cosine: stop + (start - stop) * (1 + cos(pi u)) / 2.

    The drop fraction of RigL (Evci et al. 2020, section 3) with start = alpha, stop = 0.

    >>> round(cosine(25, start=0.3, stop=0.0, steps=100), 6)
    0.256066
    """
    return _between(start, stop, (1 - math.cos(math.pi * _progress(step, steps))) / 2)


def cubic(step: int, start: float, stop: float, steps: int) -> float:
    """Move fast first: stop + (start - stop) * (1 - u)^3.

    Gradual magnitude pruning (Zhu & Gupta 2017, equation 1).

    >>> round(cubic(1, start=0.0, stop=0.9, steps=10), 4)
    0.2439
    """
    return _between(start, stop, 1 - (1 - _progress(step, steps)) ** 3)


def polynomial(step: int, start: float, stop: float, steps: int, *, exponent: float = 3.0) -> float:
    """Move as `cubic` with any positive `exponent`: stop + (start - stop) * (1 - u)^exponent.

    With stop = 0 the "exponential" decay of the drop fraction in RigL's code.

    >>> round(polynomial(5, start=0.4, stop=0.0, steps=10, exponent=2), 4)
    0.1
    """
    if not exponent > 0:
        raise ValueError(f"exponent must be positive, got {exponent}")
    return _between(start, stop, 1 - float((1 - _progress(step, steps)) ** exponent))


def geometric(step: int, start: float, stop: float, steps: int) -> float:
    """Shrink the density by the same factor each step.

    1 - (1 - start)^(1 - u) * (1 - stop)^u: equal cuts remove equal fractions of the survivors.
    ValueError unless both ends are sparsities in [0, 1).

    >>> round(geometric(1, start=0.0, stop=0.36, steps=2), 6)
    0.2
    """
    if not (0 <= start < 1 and 0 <= stop < 1):
        raise ValueError(f"sparsities must lie in [0, 1), got start={start}, stop={stop}")
    progress = _progress(step, steps)
    if progress in (0, 1):
        return _between(start, stop, progress)
    return float(1 - (1 - start) ** (1 - progress) * (1 - stop) ** progress)


def harmonic(step: int, start: float, stop: float, steps: int, *, rate: float = 9.0) -> float:
    """Move along a hyperbola: start + (stop - start) * (1 + rate) * u / (1 + rate * u).

    Our own definition: the harmonic decay 1 / (1 + rate * u) of annealing, scaled to meet both
    ends. No pruning paper is known to us that defines one. With the default rate it climbs earlier
    than `cubic`; as rate -> 0 it becomes `linear`. ValueError unless rate > 0.

    >>> round(harmonic(1, start=0.0, stop=0.9, steps=10), 6)
    0.473684
    """
    if not rate > 0:
        raise ValueError(f"rate must be positive, got {rate}")
    progress = _progress(step, steps)
    return _between(start, stop, (1 + rate) * progress / (1 + rate * progress))


def is_due(step: int, *, interval: int, until: int, first: int = 0) -> bool:
    """Say whether to act at `step`: at first, first + interval, ... and always at `until`.

    `until` is included even off the grid, or a gradual method would end short of its target.
    ValueError unless interval >= 1.

    >>> [step for step in range(30) if is_due(step, interval=10, until=25, first=10)]
    [10, 20, 25]
    """
    if interval < 1:
        raise ValueError(f"interval must be 1 or more, got {interval}")
    return first <= step <= until and ((step - first) % interval == 0 or step == until)


def _progress(step: int, steps: int) -> float:
    if steps < 0:
        raise ValueError(f"steps must be 0 or more, got {steps}")
    if step >= steps:
        return 1.0
    return max(step, 0) / steps


def _between(start: float, stop: float, progress: float) -> float:
    # start + (stop - start) need not equal stop in floating point
    return stop if progress == 1 else start + (stop - start) * progress
