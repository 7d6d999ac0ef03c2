"""Injecting drawn faults until the time is over; what must wait for a victim, beside others."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Protocol, TypeVar

from tests.faults.drawing import Draw

SECONDS_FOR_ONE = 180.0
SECONDS_MORE = 600.0
MAX_WAITING = 6
TICK = 1.0


class Clock(Protocol):
    """What a world must be to pass the time in it."""

    def now(self) -> float: ...

    def rest(self, seconds: float) -> None: ...


Place = TypeVar("Place", bound=Clock)
# The numbers of the sweeps that it hit; None where it was not possible at that moment.
Inject = Callable[[Place, Draw], Sequence[int] | None]


@dataclasses.dataclass(frozen=True)
class Injected:
    """A fault: when it came, and which sweeps it hit; None where it never found a victim."""

    kind: str
    seconds: float
    sweeps: tuple[int, ...] | None


def inject_all(
    world: Place,
    faults: Iterator[Draw],
    kinds: Mapping[str, Inject[Place]],
    *,
    seconds: float,
    tell: Callable[[Injected], None],
    least_kinds: int = 0,
) -> list[Injected]:
    """Inject drawn faults for so many seconds, and tell of each.

    One that is not possible yet waits, and is left out when it has waited for three minutes. A busy
    machine may need longer until `least_kinds` of them hit a sweep, and gets `SECONDS_MORE`.
    """
    begun = world.now()
    injected: list[Injected] = []
    waiting: dict[Draw, float] = {}

    def try_all() -> None:
        for draw, given_up in list(waiting.items()):
            hit = _hit(world, draw, kinds[draw.kind])
            if hit is not None or given_up <= world.now():
                del waiting[draw]
                injected.append(Injected(draw.kind, world.now() - begun, hit))
                tell(injected[-1])

    for draw in faults:
        due = world.now() + draw.pause
        while world.now() < due or len(waiting) >= MAX_WAITING:
            num_kinds = len({one.kind for one in injected if one.sweeps})
            more = SECONDS_MORE if num_kinds < least_kinds else 0.0
            if world.now() >= begun + seconds + more:
                return injected
            world.rest(TICK)
            try_all()
        waiting[draw] = world.now() + SECONDS_FOR_ONE
        try_all()
    return injected


def _hit(world: Place, draw: Draw, inject: Inject[Place]) -> tuple[int, ...] | None:
    try:
        hit = inject(world, draw)
    except (RuntimeError, FileNotFoundError, ValueError):
        return None  # SLURM knew the job no more, or a file is gone or was damaged before
    return None if hit is None else tuple(sorted(set(hit)))
