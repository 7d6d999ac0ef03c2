"""Calls of a running graph: what they read, write, forget, and may write over."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from sparsekit.inference.joining import Joined
from sparsekit.inference.layers import SparseConv2d


@dataclass(slots=True)
class Step:
    """One call: `arguments` with the values of slots put in their places.

    What it returns goes to `slot`, or if there is a `second` one a pair to both.
    """

    name: str
    function: Callable[..., Any]
    arguments: list[Any]
    places: list[tuple[int, int]]
    options: dict[str, Any]
    slot: int
    frees: tuple[int, ...] = ()
    second: int | None = None

    def run(self, values: list[Any]) -> None:
        """Call the function, keep what it returns, and forget what nobody reads any more."""
        arguments = self.arguments.copy()
        for place, source in self.places:
            arguments[place] = values[source]
        options = self.options
        called = self.function(*arguments, **options) if options else self.function(*arguments)
        if self.second is None:
            values[self.slot] = called
        else:
            values[self.slot], values[self.second] = called
        for slot in self.frees:
            values[slot] = None


def free_(steps: list[Step], kept: set[int]) -> None:
    """Let each step forget what no later one reads, but for what is `kept`."""
    seen = set(kept)
    for step in reversed(steps):
        last = {source for _, source in step.places} - seen
        step.frees = tuple(sorted(last))
        seen |= last


def overwrite_(steps: list[Step], own: set[int]) -> None:
    """Let convolutions write over residuals that nobody reads after them; `own` may be written."""
    for step in steps:
        layer = getattr(step.function, "__self__", step.function)
        read = dict(step.places)
        if isinstance(layer, Joined | SparseConv2d) and read.get(1) in own.intersection(step.frees):
            step.arguments[2] = read[0] != read[1]
