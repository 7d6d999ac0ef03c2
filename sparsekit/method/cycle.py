"""A method is a plan of cycles; a cycle is one turn of the loop: prune, rewind, train, merge."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from typing import Any, Literal

from sparsekit.core.averaging import single
from sparsekit.core.counts import cumulative_sparsity, per_cycle_fraction
from sparsekit.core.distillation import DENSE, Distillation
from sparsekit.core.fit_spec import FitSpec
from sparsekit.core.types import Control, Masks, Merge, Mover, Penalty, State, View
from sparsekit.method.mistakes import mistakes
from sparsekit.method.variations import Variation, varied
from sparsekit.networks.network import Network

Prune = Callable[..., Any]
Retrain = Callable[..., float]
Transform = Callable[..., tuple[Network, State, Masks]]
"""(network, state, masks, probe) -> another network with its weights and masks; see
docs/transformations.md."""

Study = Callable[..., dict[str, Any]]
OF_FITS = (
    "first_step", "last_step", "phase", "epochs", "length_factor", "retrain_schedule", "mover",
    "view", "penalty", "average_from", "distillation",
)  # fmt: skip


@dataclasses.dataclass(frozen=True)
class Cycle:
    """One turn of the loop.

    `index` feeds the randomness of its fits. `sparsity`, over all prunable weights, is reached by
    the time they start, or by the `mover` or the `view` while they run; `control` then changes the
    masks, and `transform` the network. What is pruned is the last "ticket", or the last "particles"
    to one common mask, or, "apart", each of them for itself.
    The fits start from the weights of the anchor if it `rewinds`, from weights drawn anew if it
    `reinitialises`, else from those of the sources. They run steps `first_step` to
    `last_step` (None: the end) of the training schedule or the fractions `phase` of it, or
    `retrain_schedule` over `epochs`, `length_factor` as long. Without `variations` there are no
    fits: the ticket is what was pruned. From the fraction `average_from` of a fit on, its weights
    are averaged, once per epoch. `is_anchor`: later cycles rewind to its ticket. `is_result`:
    tables show it.
    """

    index: int
    sparsity: float = 0.0
    prune: Prune | None = None
    control: Control | None = None
    transform: Transform | None = None
    rewinds: bool = False
    reinitialises: bool = False
    is_anchor: bool = False
    is_result: bool = True
    sources: Literal["ticket", "particles", "apart"] = "ticket"
    first_step: int = 0
    last_step: int | None = None
    phase: tuple[float, float] | None = None
    epochs: float | None = None
    length_factor: float = 1.0
    retrain_schedule: Retrain | None = None
    mover: Mover | None = None
    view: View | None = None
    penalty: Penalty | None = None
    average_from: float | None = None
    distillation: Distillation | None = None
    variations: tuple[Variation, ...] = ({},)
    merge: Merge = single
    studies: tuple[Study, ...] = ()

    def fit(self, variation: Variation, common: FitSpec) -> FitSpec:
        """Return what one fit of this cycle is asked: what is `common` to all fits of the run, what
        this cycle asks of each, and what this one varies."""
        asked = {name: getattr(self, name) for name in OF_FITS}
        return varied(dataclasses.replace(common, cycle=self.index, **asked), variation)


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
    `retrain_epochs`  length of the cycles, where it differs from the training's; 0: they do not
                      train
    `retrain_times`   the cycles are that many times as long
    `span`            the cycles are parts of one training: the first cut after the fraction
                      span[0] of it, the last after span[1], sparsity along `ramp` in between
    `mover`           moves the masks during a fit; None: they stay
    `view`            what the forward pass sees of the weights of a fit, such as n of every m; its
                      sparsity, if it has one, is that of the method; None: the weights
    `penalty`         pulls weights towards 0 in a training of its own, before the first cycle and
                      after the dense one, or in its place with dense_first=false; None: there is
                      no such training
    `num_particles`   fits per cycle, which draw differently
    `variations`      how else they differ, one mapping per fit, of particle, seed, epochs,
                      retrain, weight_decay or peak (of the learning rate)
    `merge`           makes one ticket of them
    `average_from`    fraction of each fit after which its weights are averaged, in every cycle;
                      None: they are not
    `distillation`    what the fits learn from a teacher beside the task; from the dense ticket of
                      the run all but the dense fits themselves, from a stored network every fit
    `several_from`    first cycle with several fits and their merge; 0 is the dense one
    `sources`         what the next cycle prunes: the "ticket"; each of the "particles", to one
                      common mask; or, with masks "apart", each particle for itself
    `reprune`         prune the last ticket to the last sparsity, without training
    `transform`       makes another network of what was pruned, before it is trained, in every
                      cycle: (network, state, masks, probe) -> (network, state, masks)
    `control`         changes the masks that the last fits start from, to see whether they matter
    `reinitialise`    the last fits start from weights drawn anew
    `studies`         what else is measured of the particles and tickets
    """

    prune: Prune | None = None
    sparsity: float | None = None
    remove: float | None = None
    cycles: int = 0
    dense_first: bool = True
    rewind_step: int | None = None
    retrain: Retrain | None = None
    retrain_epochs: float | None = None
    retrain_times: float = 1.0
    span: tuple[float, float] | None = None
    ramp: Callable[..., float] | None = None
    mover: Mover | None = None
    view: View | None = None
    penalty: Penalty | None = None
    num_particles: int = 1
    variations: tuple[Variation, ...] = ({},)
    merge: Merge = single
    average_from: float | None = None
    distillation: Distillation | None = None
    several_from: int = 1
    sources: Literal["ticket", "particles", "apart"] = "ticket"
    reprune: bool = False
    transform: Transform | None = None
    control: Control | None = None
    reinitialise: bool = False
    studies: tuple[Study, ...] = ()

    def __post_init__(self) -> None:
        for problem in mistakes(self):
            raise ValueError(f"method: {problem}")

    def plan(self) -> Iterator[Cycle]:
        """Yield the cycles in order."""
        before = [*self._dense(), *self._penalised()]
        shift = before[-1].index if before else 0
        later = (self._cycle(index) for index in range(1, self.cycles + 1))
        cycles = [*before, *(dataclasses.replace(c, index=c.index + shift) for c in later)]
        last = cycles[-1]
        if self.reprune:
            # What is in between is denser than its sparsity says.
            yield from (dataclasses.replace(c, is_result=c.index == 0) for c in cycles)
            repruned = Cycle(last.index + 1, last.sparsity, self.prune, transform=self.transform)
            yield dataclasses.replace(repruned, variations=())
        elif self.control is None and not self.reinitialise:
            yield from cycles
        elif self.mover is None and self.view is None:
            # Cycles on the way are the method's own: under the control's name they would mislead.
            for cycle in cycles[:-1]:
                is_result = cycle.is_result and cycle.sparsity == 0
                yield dataclasses.replace(cycle, is_result=is_result)
            yield self._controlled(last)
        else:
            # Masks that moved, or were those of a view, are known only at the end: they are trained
            # once more, held fixed.
            yield from cycles[:-1]
            yield dataclasses.replace(last, is_result=False)
            again = Cycle(index=last.index + 1, sparsity=last.sparsity, studies=self.studies)
            taught = dataclasses.replace(again, rewinds=True, distillation=self.distillation)
            yield self._controlled(taught)

    def sparsity_after(self, cycle: int) -> float:
        """Return the sparsity over the prunable weights after some cycles; exact after the last."""
        if self.view is not None and self.view.sparsity is not None:
            return self.view.sparsity
        if self.sparsity is None:
            return cumulative_sparsity(self.remove or 0.0, cycle)
        if cycle == self.cycles:
            return self.sparsity
        if self.ramp is not None:
            return self.ramp(cycle, start=0.0, stop=self.sparsity, steps=self.cycles)
        return cumulative_sparsity(per_cycle_fraction(self.sparsity, self.cycles), cycle)

    def _dense(self) -> Iterator[Cycle]:
        if not self.dense_first:
            return
        # Rewinding to step k needs the weights at step k: a fit of its own, which all methods
        # that rewind there share. Without it cycle 0 is the same fit for every method.
        if self.rewind_step:
            anchor = Cycle(0, last_step=self.rewind_step, is_anchor=True, is_result=False)
            yield dataclasses.replace(anchor, distillation=self._distillation(0))
        rewinds = bool(self.rewind_step)
        first = self.rewind_step or 0
        phase = None if self.span is None else (0.0, self.span[0])
        yield Cycle(index=0, first_step=first, phase=phase, rewinds=rewinds, **self._particles(0))

    def _penalised(self) -> Iterator[Cycle]:
        if self.penalty is not None:
            index = int(self.dense_first)
            studies = self.studies
            is_result = index == 0 or self.cycles == 0
            yield Cycle(index, penalty=self.penalty, is_result=is_result, studies=studies)

    def _cycle(self, index: int) -> Cycle:
        cycle = Cycle(
            index=index,
            sparsity=self.sparsity_after(index),
            prune=self.prune,
            transform=self.transform,
            rewinds=self.rewind_step is not None,
            sources=self.sources,
            first_step=self.rewind_step or 0,
            phase=self._phase(index),
            epochs=self.retrain_epochs,
            length_factor=self.retrain_times,
            retrain_schedule=self.retrain,
            mover=self.mover,
            view=self.view,
            **self._particles(index),
        )
        if self.retrain_epochs == 0:
            return dataclasses.replace(cycle, epochs=None, variations=())
        return cycle

    def _phase(self, index: int) -> tuple[float, float] | None:
        if self.span is None:
            return None
        first, last = self.span
        width = (last - first) / max(1, self.cycles - 1)
        end = 1.0 if index == self.cycles else first + index * width
        return first + (index - 1) * width, end

    def _particles(self, cycle: int) -> dict[str, Any]:
        common = {
            "average_from": self.average_from,
            "distillation": self._distillation(cycle),
            "studies": self.studies,
        }
        if cycle < self.several_from:
            return common
        fits = [{"particle": p, **v} for v in self.variations for p in range(self.num_particles)]
        return {
            "variations": tuple(fits) if len(fits) > 1 else tuple(self.variations),
            "merge": self.merge,
            **common,
        }

    def _distillation(self, cycle: int) -> Distillation | None:
        """Return what the fits of a cycle learn; the dense network cannot learn from itself."""
        asked = self.distillation
        return None if cycle == 0 and asked is not None and asked.teacher == DENSE else asked

    def _controlled(self, cycle: Cycle) -> Cycle:
        return dataclasses.replace(cycle, control=self.control, reinitialises=self.reinitialise)
