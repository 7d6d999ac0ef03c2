"""How masks move while training: `Rewire` drops and grows, `Gradual` prunes step by step.

Steps count what the optimizer has done: at step t it has stepped t times, or t - 1 times where the
masks move "instead" of a step. Shapes: weights, gradients and masks as in `types`.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Literal

from sparsekit.core import schedules
from sparsekit.core.compute import average_density, parts_of_steps
from sparsekit.core.counts import budget, whole_part
from sparsekit.core.prune import prune, total_kept
from sparsekit.core.rules import Rule, reads_gradient
from sparsekit.core.seeds import derive
from sparsekit.core.types import Allocate, Masks, Mover, Pattern, Score, Weights

TIMINGS = ("after", "instead")
CLOCKS = ("steps", "compute")


@dataclass(frozen=True, kw_only=True)
class Rewire:
    """Drop and grow weights layer by layer: dynamic sparse training (SET, RigL, SRigL).

    At steps interval, 2 * interval, ... below T = floor(until * num_steps), or also at T if
    `inclusive`, `rule` moves f(step) of the active weights of every layer. f goes from `fraction`
    at step 0 to 0 at T along `decay`, one of `schedules`; with the cosine
    f(step) = fraction / 2 * (1 + cos(pi * step / T)) (Evci et al. 2020, section 3). At T itself
    something moves only along `schedules.unchanged`.

    `timing`: "after" the optimizer's step, as SET and the authors of SRigL do, or "instead" of it,
    as in RigL's algorithm 1. `num_gradients`: the dense gradients are the mean over that many
    optimizer steps, the last of them that of the update. A layer that no gradient reaches (frozen,
    or not run in any of these steps) keeps its mask at this update: nothing would train what grows.

    `exceptions` maps names of parameters, or patterns of them such as "*.qkv.weight", to the rule
    of those layers; the first that matches counts. `last` is the rule of the last layer in the
    order of the network, for the classifier that SRigL does not ablate. Draws are a function of
    (seed, step, layer name). Where a gradient is not finite, as when a loss scale was too large
    and the optimizer skips the step, the masks are left.

    ValueError unless 0 <= fraction <= 1, 0 <= until <= 1, interval >= 1 and
    1 <= num_gradients <= interval; from `rehearse` if no update falls into the fit; from `move` if
    no layer has a gradient, and for an exception that matches no layer.

    >>> import torch
    >>> from sparsekit.core import rules
    >>> weights, grads = {"a": torch.tensor([[3.0, 1, 0]])}, {"a": torch.tensor([[0.0, 1, 2]])}
    >>> masks = {"a": torch.tensor([[True, True, False]])}
    >>> rewire = Rewire(rule=rules.rigl_rule, fraction=0.6, interval=2, until=0.8)
    >>> [step for step in range(10) if rewire.acts(step, 10)]
    [2, 4, 6]
    >>> rewire.move(2, weights, grads, masks, 10)
    {'a': tensor([[ True, False,  True]])}
    """

    rule: Rule
    last: Rule | None = None
    exceptions: Mapping[str, Rule] | None = None
    fraction: float = 0.3
    decay: Callable[..., float] = schedules.cosine
    interval: int = 100
    until: float = 0.75
    inclusive: bool = False
    timing: Literal["after", "instead"] = "after"
    num_gradients: int = 1
    seed: int = 0

    def __post_init__(self) -> None:
        _require_fraction("fraction", self.fraction)
        _require_fraction("until", self.until)
        _require_interval(self.interval)
        _require_one_of("timing", self.timing, TIMINGS)
        if not 1 <= self.num_gradients <= self.interval:
            raise ValueError(
                f"num_gradients={self.num_gradients} is not between 1 and interval={self.interval}"
            )

    def acts(self, step: int, num_steps: int) -> bool:
        """Say whether the masks move at `step` of `num_steps`."""
        end = self._end(num_steps)
        is_within = 0 < step < end or (self.inclusive and 0 < step == end)
        return is_within and step % self.interval == 0 and self.moved(step, num_steps) > 0

    def moved(self, step: int, num_steps: int) -> float:
        """Return the fraction of the active weights that moves at `step`."""
        return self.decay(step, start=self.fraction, stop=0.0, steps=self._end(num_steps))

    def move(
        self, step: int, weights: Weights, grads: Weights, masks: Masks, num_steps: int
    ) -> Masks | None:
        """Return masks with `moved` of the weights dropped, and as many grown, in every layer."""
        trained = [name for name in masks if name in grads]
        if masks and not trained:
            raise ValueError(f"no gradients for {list(masks)}; there are those of {sorted(grads)}")
        if not all(bool(grads[name].isfinite().all()) for name in trained):
            return None
        rules = self.rules(list(masks))
        moved = self.moved(step, num_steps)
        rewired = {
            name: rules[name](
                weights[name], grads[name], masks[name], moved, derive(self.seed, step, name)
            )
            for name in trained
        }
        return {**masks, **rewired}

    def rehearse(self, weights: Weights, masks: Masks, num_steps: int) -> None:
        """Raise ValueError for what would fail at an update, and if there would be none.

        The first update is tried with the weights for gradients: a rule may need masks of a
        structure that these have not. A `fraction` of 0 moves nothing on purpose.
        """
        self.rules(list(masks))
        if self.fraction == 0:
            return
        steps = range(self.interval, num_steps + 1, self.interval)
        first = next((step for step in steps if self.acts(step, num_steps)), None)
        if first is None:
            raise ValueError(
                f"a mover with interval={self.interval} and until={self.until} moves nothing in a "
                f"fit of {num_steps} steps: no multiple of {self.interval} is below "
                f"{self._end(num_steps)}; fraction=0 holds masks fixed"
            )
        kept = {name: weights[name] * mask for name, mask in masks.items()}
        self.move(first, kept, {name: weights[name] for name in masks}, masks, num_steps)

    def rules(self, names: list[str]) -> dict[str, Rule]:
        """Return the rule of every layer."""
        exceptions = self.exceptions or {}
        unused = [p for p in exceptions if not any(fnmatchcase(name, p) for name in names)]
        if unused:
            raise ValueError(f"exceptions {unused} match none of the layers {names}")
        chosen = dict.fromkeys(names, self.rule)
        if self.last is not None and names:
            chosen[names[-1]] = self.last
        for wildcard in reversed(list(exceptions)):
            chosen |= {n: exceptions[wildcard] for n in names if fnmatchcase(n, wildcard)}
        return chosen

    def _end(self, num_steps: int) -> int:
        return whole_part(num_steps, self.until)


@dataclass(frozen=True, kw_only=True)
class Gradual:
    """Prune to more and more sparsity: gradual magnitude pruning (GMP, Zhu & Gupta 2017).

    Between the fractions `begin` and `until` of training sparsity moves from `initial` to
    `sparsity` along `schedule`, one of `schedules`; masks move every `interval` steps and at
    the end of the ramp, which is reached exactly. With the cubic schedule
    s = sparsity + (initial - sparsity) * (1 - u)^3, u the part of the ramp that is over
    (equation 1). `clock`: "begin" and "until" are fractions of the training "steps", or of the
    training "compute", where a step costs in proportion to the weights that are left.

    Sparsity is over all the weights that have a mask. Pruned weights stay pruned: where the masks
    are already sparser than the schedule asks, they keep what they have. The score gets no probe
    and no gradients. A ramp that ends at step 0 prunes before the first step.

    ValueError unless 0 <= begin <= until <= 1, both sparsities lie in [0, 1) and interval >= 1.

    >>> import torch
    >>> from sparsekit.core import allocate, patterns, scores
    >>> gradual = Gradual(sparsity=0.5, score=scores.magnitude, allocate=allocate.globally,
    ...                   pattern=patterns.unstructured, interval=4, until=1.0)
    >>> [step for step in range(11) if gradual.acts(step, 10)]
    [0, 4, 8, 10]
    >>> gradual.move(10, {"a": torch.tensor([1.0, 3.0])}, {}, {"a": torch.tensor([True, True])}, 10)
    {'a': tensor([False,  True])}
    """

    sparsity: float
    score: Score
    allocate: Allocate
    pattern: Pattern
    initial: float = 0.0
    schedule: Callable[..., float] = schedules.cubic
    begin: float = 0.0
    until: float = 0.75
    clock: Literal["steps", "compute"] = "steps"
    interval: int = 100

    def __post_init__(self) -> None:
        for name in ("sparsity", "initial"):
            if not 0 <= getattr(self, name) < 1:
                raise ValueError(f"{name}={getattr(self, name)} is outside 0 <= {name} < 1")
        _require_interval(self.interval)
        _require_one_of("clock", self.clock, CLOCKS)
        if not 0 <= self.begin <= self.until <= 1:
            raise ValueError(
                f"0 <= begin <= until <= 1 is needed, got begin={self.begin}, until={self.until}"
            )

    @property
    def timing(self) -> Literal["after", "instead"]:
        return "after"

    @property
    def num_gradients(self) -> int:
        return 0

    def acts(self, step: int, num_steps: int) -> bool:
        """Say whether the masks move at `step` of `num_steps`."""
        first, last = self.bounds(num_steps)
        return schedules.is_due(step, interval=self.interval, first=first, until=last)

    def bounds(self, num_steps: int) -> tuple[int, int]:
        """Return the steps at which the ramp begins and ends."""
        parts = (self.begin, self.until)
        if self.clock == "compute":
            ramp = average_density(self.schedule, start=self.initial, stop=self.sparsity)
            parts = parts_of_steps(
                self.begin,
                self.until,
                before=1 - self.initial,
                ramp=ramp,
                after=1 - self.sparsity,
            )
        begin, until = (whole_part(num_steps, min(part, 1.0)) for part in parts)
        return begin, until

    def rehearse(self, weights: Weights, masks: Masks, num_steps: int) -> None:
        """Raise ValueError for a sparsity that allocation or pattern cannot meet.

        The mover always acts at the end of the ramp, however long the interval, so it is never
        useless.
        """
        _, last = self.bounds(num_steps)
        self.move(last, weights, {}, masks, num_steps)

    def move(
        self, step: int, weights: Weights, grads: Weights, masks: Masks, num_steps: int
    ) -> Masks:
        """Return masks of the sparsity of this step, nested in `masks`."""
        first, last = self.bounds(num_steps)
        sparsity = self.schedule(
            step - first, start=self.initial, stop=self.sparsity, steps=last - first
        )
        total = sum(mask.numel() for mask in masks.values())
        return prune(
            weights,
            masks,
            None,
            num_kept=min(budget(total, sparsity), total_kept(masks)),
            score=self.score,
            allocate=self.allocate,
            pattern=self.pattern,
        )


def grown_by_gradient(mover: Mover, names: list[str]) -> list[str]:
    """Return the layers whose dense gradient decides what grows; of movers unknown here: all.

    >>> from sparsekit.core import rules
    >>> grown_by_gradient(Rewire(rule=rules.rigl_rule, last=rules.set_rule), ["a", "b"])
    ['a']
    """
    if not mover.num_gradients:
        return []
    if not isinstance(mover, Rewire):
        return names
    return [name for name, rule in mover.rules(names).items() if reads_gradient(rule)]


def _require_fraction(name: str, value: float) -> None:
    if not 0 <= value <= 1:
        raise ValueError(f"{name} must lie in [0, 1], got {value}")


def _require_interval(interval: int) -> None:
    if interval < 1:
        raise ValueError(f"interval must be 1 or more, got {interval}")


def _require_one_of(name: str, value: str, valid: tuple[str, ...]) -> None:
    if value not in valid:
        raise ValueError(f"{name}={value!r} is not one of {', '.join(map(repr, valid))}")
