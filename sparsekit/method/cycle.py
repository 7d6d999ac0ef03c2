"""A method is a plan of cycles; a cycle is one turn of the loop: prune, rewind, train, merge."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Literal

from sparsekit.core.averaging import single
from sparsekit.core.counts import cumulative_sparsity, per_cycle_fraction
from sparsekit.core.types import Masks, Merge

VARIABLE = ("particle", "seed", "epochs", "retrain")
Prune = Callable[..., Any]
Variation = Mapping[str, Any]
Retrain = Callable[..., float]
TimedMover = Callable[..., Masks | None]  # a Mover once `num_steps` is bound


@dataclasses.dataclass(frozen=True)
class Cycle:
    """One turn of the loop.

    `index` feeds the randomness of its fits. `sparsity` is reached by the time they start, over
    all prunable weights. Its fits run steps `first_step` to `last_step` (None: the end) of the
    training schedule, or of `retrain` over `epochs`. `rewinds`: they start from the weights of the
    anchor, else from those of the sources. `is_anchor`: later cycles rewind to its ticket. From
    the fraction `average_from` of a fit on, its weights are averaged, once per epoch.
    """

    index: int
    sparsity: float = 0.0
    prune: Prune | None = None
    rewinds: bool = False
    is_anchor: bool = False
    first_step: int = 0
    last_step: int | None = None
    epochs: float | None = None
    retrain: Retrain | None = None
    mover: TimedMover | None = None
    average_from: float | None = None
    variations: tuple[Variation, ...] = ({},)
    merge: Merge = single

    def settings(self, variation: Variation) -> dict[str, Any]:
        """What this cycle asks of one fit, on top of the task and the training settings."""
        names = ("first_step", "last_step", "epochs", "retrain", "mover", "average_from")
        asked = {"cycle": self.index, "particle": 0, **{n: getattr(self, n) for n in names}}
        return {**asked, **variation}


@dataclasses.dataclass(frozen=True)
class Method:
    """The settings in which methods differ; everything else is the one loop.

    `prune`           score -> allocate -> pattern; None: nothing is pruned
    `sparsity`        reached after the last cycle, in equal fractions of the survivors; or
    `remove`          fraction of the surviving weights removed per cycle
    `cycles`          how many times
    `dense_first`     train dense before the first cycle; False: prune the initial weights
    `rewind_step`     the weights go back to where they were after that many training steps;
                      None: they are kept
    `retrain`         learning-rate schedule of the cycles; None: the training schedule itself,
                      from `rewind_step` on
    `retrain_epochs`  length of the cycles, where it differs from the training's
    `mover`           moves the masks during a fit; None: they stay
    `variations`      how the fits of one cycle differ: one mapping per fit, of particle (which
                      feeds its randomness), seed, epochs or retrain
    `merge`           makes one ticket of them
    `average_from`    fraction of each fit after which its weights are averaged; None: they are not
    `several_from`    first cycle with variations, merge and averaging; 0 is the dense one
    `sources`         what the next cycle prunes: the "ticket", or each of the "particles"
    """

    prune: Prune | None = None
    sparsity: float | None = None
    remove: float | None = None
    cycles: int = 0
    dense_first: bool = True
    rewind_step: int | None = None
    retrain: Retrain | None = None
    retrain_epochs: float | None = None
    mover: TimedMover | None = None
    variations: tuple[Variation, ...] = ({},)
    merge: Merge = single
    average_from: float | None = None
    several_from: int = 1
    sources: Literal["ticket", "particles"] = "ticket"

    def __post_init__(self) -> None:
        for problem in _problems(self):
            raise ValueError(f"method: {problem}")

    def plan(self) -> Iterator[Cycle]:
        """The cycles in order."""
        if self.dense_first:
            yield from self._dense()
        for index in range(1, self.cycles + 1):
            yield Cycle(
                index=index,
                sparsity=self.sparsity_after(index),
                prune=self.prune,
                rewinds=self.rewind_step is not None,
                first_step=self.rewind_step or 0,
                epochs=self.retrain_epochs,
                retrain=self.retrain,
                mover=self.mover,
                **self._particles(index),
            )

    def sparsity_after(self, cycle: int) -> float:
        """Sparsity over the prunable weights after a number of cycles; exact after the last."""
        if self.sparsity is None:
            return cumulative_sparsity(self.remove or 0.0, cycle)
        if cycle == self.cycles:
            return self.sparsity
        return cumulative_sparsity(per_cycle_fraction(self.sparsity, self.cycles), cycle)

    def _dense(self) -> Iterator[Cycle]:
        # Rewinding to step k needs the weights at step k: a fit of its own, which all methods
        # that rewind there share. Without it cycle 0 is the same fit for every method.
        if self.rewind_step:
            yield Cycle(index=0, last_step=self.rewind_step, is_anchor=True)
        rewinds = bool(self.rewind_step)
        first = self.rewind_step or 0
        yield Cycle(index=0, first_step=first, rewinds=rewinds, **self._particles(0))

    def _particles(self, cycle: int) -> dict[str, Any]:
        if cycle < self.several_from:
            return {}
        variations = tuple(self.variations)
        return {"variations": variations, "merge": self.merge, "average_from": self.average_from}


def _problems(method: Method) -> Iterator[str]:
    for name in ("sparsity", "remove"):
        value = getattr(method, name)
        if value is not None and not 0 <= value < 1:
            yield f"{name}={value} is outside 0 <= {name} < 1"
    if method.sources not in ("ticket", "particles"):
        yield f"sources={method.sources!r} is none of 'ticket', 'particles'"
    if not method.variations:
        yield "variations is empty: no fit would run; [{}] is one plain fit"
    for name in sorted({name for variation in method.variations for name in variation}):
        if name not in VARIABLE:
            yield f"variations cannot vary {name!r}; valid: {', '.join(VARIABLE)}"
    if method.cycles < 0 or not (method.cycles or method.dense_first):
        yield f"cycles={method.cycles} with dense_first={method.dense_first} trains nothing"
    if method.cycles:
        yield from _pruning_problems(method)
    yield from _rewinding_problems(method)
    yield from _averaging_problems(method)


def _pruning_problems(method: Method) -> Iterator[str]:
    if method.prune is None and method.mover is None:
        yield f"cycles={method.cycles} but nothing is pruned; give `prune` or cycles=0"
    if (method.sparsity is None) == (method.remove is None):
        yield "give either `sparsity` (after the last cycle) or `remove` (per cycle)"


def _rewinding_problems(method: Method) -> Iterator[str]:
    if method.rewind_step is None:
        return
    if method.rewind_step < 0:
        yield f"rewind_step={method.rewind_step} is negative"
    if method.rewind_step and not method.dense_first:
        yield f"rewind_step={method.rewind_step} needs dense_first=true"
    if method.retrain is not None:
        yield "`retrain` has its own learning rates; with `rewind_step` the schedule goes on"


def _averaging_problems(method: Method) -> Iterator[str]:
    if method.average_from is not None and not 0 <= method.average_from < 1:
        yield f"average_from={method.average_from} is outside 0 <= average_from < 1"
    if method.average_from is not None and method.mover is not None:
        yield "average_from with a mover would average weights under different masks"
