"""Learning rates in closed form: the absolute rate at update `step`, 0 <= step < steps.

Nothing is chained and nothing remembers, so a resumed run sees the same rates. `warmup` is the
fraction of `steps` over which the rate first climbs linearly; its first update already has the
positive rate peak / num_warmup. ValueError for a step outside [0, steps).
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

from torch import Tensor

from sparsekit.core.counts import whole_part
from sparsekit.core.types import Masks, Weights


def num_warmup(steps: int, warmup: float) -> int:
    """Return the number of warmup updates: `warmup` * `steps`, rounded down.

    >>> num_warmup(200, 0.05)
    10
    """
    return whole_part(steps, warmup)


def constant(step: int, steps: int, *, peak: float, warmup: float = 0.0) -> float:
    """Hold `peak`.

    >>> [constant(step, 4, peak=0.5, warmup=0.5) for step in range(4)]
    [0.25, 0.5, 0.5, 0.5]
    """
    return peak * _ramp(step, steps, warmup)


def multistep(
    step: int,
    steps: int,
    *,
    peak: float,
    milestones: Sequence[float],
    gamma: float = 0.1,
    warmup: float = 0.0,
) -> float:
    """Multiply `peak` by `gamma` at each of `milestones`, fractions of `steps` (warmup included).

    >>> [multistep(step, 4, peak=1.0, milestones=[0.5, 0.75], gamma=0.5) for step in range(4)]
    [1.0, 1.0, 0.5, 0.25]
    """
    num_passed = sum(whole_part(steps, milestone) <= step for milestone in milestones)
    return peak * float(gamma**num_passed) * _ramp(step, steps, warmup)


def cosine(step: int, steps: int, *, peak: float, floor: float = 0.0, warmup: float = 0.0) -> float:
    """Fall along half a cosine from `peak` towards `floor` (Loshchilov & Hutter 2017).

    >>> [round(cosine(step, 4, peak=1.0), 3) for step in range(4)]
    [1.0, 0.854, 0.5, 0.146]
    """
    ramp, progress = _ramp(step, steps, warmup), _progress(step, steps, warmup)
    if ramp < 1:
        return peak * ramp
    return floor + (peak - floor) * (1 + math.cos(math.pi * progress)) / 2


def held(
    step: int, steps: int, *, peak: float, hold: float, start: float = 0.75, warmup: float = 0.0
) -> float:
    """Fall along half a cosine from `peak` to `hold` over the fraction `start`, then stay there.

    `warmup` and `start` are both fractions of `steps`: the fall fills what is between them.
    ValueError if `start` is before the end of the warmup.

    For averaging the weights along a constant rate. That SWAMP (arXiv 2305.14852) ends with a
    constant 0.05 is known from its reviews; that it comes there along a cosine is assumed.

    >>> [round(held(step, 8, peak=1.0, hold=0.5, start=0.5), 3) for step in range(6)]
    [1.0, 0.927, 0.75, 0.573, 0.5, 0.5]
    """
    require_step(step, steps)
    falling, warming = whole_part(steps, start), num_warmup(steps, warmup)
    if falling < warming:
        raise ValueError(f"start={start} is before the end of the warmup, warmup={warmup}")
    if step < warming:
        return peak * (step + 1) / warming
    if step >= falling:
        return hold
    progress = (step - warming) / (falling - warming)
    return hold + (peak - hold) * (1 + math.cos(math.pi * progress)) / 2


def linear(step: int, steps: int, *, peak: float, warmup: float = 0.0) -> float:
    """Fall in equal steps from `peak` at the first update towards 0 after the last.

    >>> [linear(step, 4, peak=1.0) for step in range(4)]
    [1.0, 0.75, 0.5, 0.25]
    """
    return peak * _ramp(step, steps, warmup) * (1 - _progress(step, steps, warmup))


def require_step(step: int, steps: int) -> None:
    """Raise ValueError unless 0 <= step < steps."""
    if not 0 <= step < steps:
        raise ValueError(f"step must lie in [0, {steps}), got {step}")


def _ramp(step: int, steps: int, warmup: float) -> float:
    """Return the factor of the warmup: rising to 1, then 1."""
    require_step(step, steps)
    num = num_warmup(steps, warmup)
    return (step + 1) / num if step < num else 1.0


def _progress(step: int, steps: int, warmup: float) -> float:
    """Return the part of the steps after the warmup that is over, in [0, 1)."""
    num = num_warmup(steps, warmup)
    return max(step - num, 0) / max(steps - num, 1)


@dataclass(frozen=True)
class DenseSchedule:
    """The dense training that retraining schedules refer to.

    `rates` are the learning rates of its updates, the first `num_warmup` of them warmup.
    """

    rates: tuple[float, ...]
    num_warmup: int

    def __post_init__(self) -> None:
        if not 0 <= self.num_warmup < len(self.rates):
            raise ValueError(f"num_warmup={self.num_warmup} of {len(self.rates)} updates")

    @cached_property
    def highest(self) -> float:
        """The highest learning rate of the training."""
        return max(self.rates)

    @cached_property
    def lowest(self) -> float:
        """The lowest learning rate after the warmup."""
        return min(self.rates[self.num_warmup :])


@dataclass(frozen=True)
class Cut:
    """What the preceding pruning did.

    `norm_drop` is the part of the norm of the parameters it removed (see the function of that
    name), `fraction` the part of the surviving weights.
    """

    norm_drop: float
    fraction: float

    def __post_init__(self) -> None:
        for value in (self.norm_drop, self.fraction):
            if not 0 <= value <= 1:
                raise ValueError(f"norm_drop and fraction must lie in [0, 1], got {self}")


def norm_drop(parameters: Weights, masks: Masks) -> float:
    """Return sqrt(| ||w||^2 - ||m w||^2 |) / ||w|| over all `parameters`; 0 if they are all zero.

    `parameters` are those before the cut: weights, biases and normalisation parameters, no buffers.
    Entries without a mask count in the norm. (Zimmer et al. 2023, ALLR.)

    >>> import torch
    >>> norm_drop({"a": torch.tensor([3.0, 4.0])}, {"a": torch.tensor([False, True])})
    0.6
    """
    total = sum(_energy(tensor) for tensor in parameters.values())
    lost = sum(_energy(parameters[name][~mask]) for name, mask in masks.items())
    return min(math.sqrt(lost / total), 1.0) if total > 0 else 0.0


def _energy(tensor: Tensor) -> float:
    return float(tensor.detach().double().square().sum())


def fine_tune(step: int, steps: int, dense: DenseSchedule, cut: Cut) -> float:
    """Hold the lowest rate the dense schedule reached after its warmup (FT, Han et al. 2015).

    >>> fine_tune(0, 2, DenseSchedule((0.1, 0.3, 0.2), 1), Cut(0.1, 0.2))
    0.2
    """
    require_step(step, steps)
    return dense.lowest


def rewound(step: int, steps: int, dense: DenseSchedule, cut: Cut) -> float:
    """Repeat the last `steps` rates of the dense schedule (LRW, Renda et al. 2020).

    ValueError if the dense schedule is shorter than `steps`.

    >>> [rewound(step, 2, DenseSchedule((0.3, 0.2, 0.1), 0), Cut(0.1, 0.2)) for step in range(2)]
    [0.2, 0.1]
    """
    require_step(step, steps)
    if steps > len(dense.rates):
        raise ValueError(
            f"cannot rewind {steps} updates; the dense schedule has {len(dense.rates)}"
        )
    return dense.rates[len(dense.rates) - steps + step]


def scaled(step: int, steps: int, dense: DenseSchedule, cut: Cut, *, warmup: float = 0.1) -> float:
    """Run the whole dense schedule compressed to `steps` (SLR, Le & Hua 2021).

    The warmup of the dense schedule counts as its highest rate; the new warmup is that of
    `linear_restart`.

    >>> dense = DenseSchedule((0.4, 0.3, 0.2, 0.1), 0)
    >>> [scaled(step, 2, dense, Cut(0.1, 0.2)) for step in range(2)]
    [0.4, 0.2]
    """

    def rate(index: int, num: int) -> float:
        position = index * len(dense.rates) // num
        return dense.highest if position < dense.num_warmup else dense.rates[position]

    return _restart(step, steps, peak=dense.highest, warmup=warmup, rate=rate)


def cyclic(step: int, steps: int, dense: DenseSchedule, cut: Cut, *, warmup: float = 0.1) -> float:
    """Fall along half a cosine from the highest to the lowest rate of the dense schedule (CLR).

    Le & Hua 2021. The warmup is that of `linear_restart`.

    >>> dense = DenseSchedule((0.5, 0.1), 0)
    >>> [round(cyclic(step, 2, dense, Cut(0.1, 0.2)), 3) for step in range(2)]
    [0.5, 0.3]
    """

    def rate(index: int, num: int) -> float:
        fall = (1 + math.cos(math.pi * index / num)) / 2
        return dense.lowest + (dense.highest - dense.lowest) * fall

    return _restart(step, steps, peak=dense.highest, warmup=warmup, rate=rate)


def linear_restart(
    step: int, steps: int, dense: DenseSchedule, cut: Cut, *, warmup: float = 0.1
) -> float:
    """Fall in equal steps from the highest dense rate towards 0 (LLR, Zimmer et al. 2023).

    The warmup climbs half a cosine from 0, so its first update does nothing, and reaches the peak
    once before the fall starts there again, as in the authors' code. A retraining too short for a
    whole update of warmup has none.

    >>> [linear_restart(step, 4, DenseSchedule((0.4, 0.2), 0), Cut(0.1, 0.2)) for step in range(4)]
    [0.4, 0.30000000000000004, 0.2, 0.1]
    """
    return _linear_restart(step, steps, peak=dense.highest, warmup=warmup)


def adaptive_linear(
    step: int, steps: int, dense: DenseSchedule, cut: Cut, *, warmup: float = 0.1
) -> float:
    """Fall as `linear_restart` from a peak that grows with the damage (ALLR, Zimmer et al. 2023).

    peak = highest * norm_drop / sqrt(fraction), at most `highest` and at least `highest` *
    steps / (steps of the dense schedule). A cut of nothing leaves the least peak.

    >>> dense = DenseSchedule((0.4,) * 8, 0)
    >>> [adaptive_linear(step, 2, dense, Cut(0.2, 0.16)) for step in range(2)]
    [0.2, 0.1]
    """
    least = min(steps / len(dense.rates), 1.0)
    damage = cut.norm_drop / math.sqrt(cut.fraction) if cut.fraction > 0 else 0.0
    peak = dense.highest * min(max(damage, least), 1.0)
    return _linear_restart(step, steps, peak=peak, warmup=warmup)


def _linear_restart(step: int, steps: int, *, peak: float, warmup: float) -> float:
    def rate(index: int, num: int) -> float:
        return peak * (1 - index / num)

    return _restart(step, steps, peak=peak, warmup=warmup, rate=rate)


def _restart(
    step: int, steps: int, *, peak: float, warmup: float, rate: Callable[[int, int], float]
) -> float:
    """Climb to `peak` over the updates 0..num_warmup, then follow rate(index, num_remaining)."""
    require_step(step, steps)
    num = num_warmup(steps, warmup)
    if num == 0:
        return rate(step, steps)
    if step <= num:
        return peak * (1 - math.cos(math.pi * step / num)) / 2
    return rate(step - num - 1, steps - num)
