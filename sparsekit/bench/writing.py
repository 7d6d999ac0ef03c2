"""What was compared, as tables and sentences."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence

from sparsekit.bench.comparing import Compared
from sparsekit.bench.ways import OURS
from sparsekit.measuring.tables import shown, significant
from sparsekit.measuring.timing import Spread

HEAD = (
    "batch",
    "way",
    "median",
    "middle half",
    "examples/s",
    "over best dense",
    "limit",
    "bound by",
    "times the limit",
)
LEAST_SHARE = 0.02
"""Of the time, to be named."""
Table = Callable[[Sequence[str], Sequence[Sequence[str]]], str]
NOTES = (
    "Over best dense: how many times as fast as the fastest of eager, compiled and onnxruntime, "
    "median and middle half of the ratios of each round.",
    "Limit: the least time that moving the weights once, or multiplying by them, takes at the "
    "bandwidth and the peak measured here, whichever is longer.",
)


def table(results: Sequence[Compared], form: Table) -> str:
    """Return one row for each batch size and way."""
    return form(HEAD, [row for one in results for row in _rows(one)])


def _rows(one: Compared) -> list[list[str]]:
    rows = []
    for way in one.times:
        seconds, allowed = one.seconds(way), one.limits[way]
        rows.append(
            [
                str(one.batch_size),
                way,
                shown(seconds.median),
                f"{shown(seconds.lower)} .. {shown(seconds.upper)}",
                significant(one.batch_size / seconds.median),
                _ratio(one.speedup(way)),
                shown(allowed.seconds),
                allowed.bound_by,
                significant(seconds.median / allowed.seconds),
            ]
        )
    return rows


def _ratio(ratio: Spread | None) -> str:
    if ratio is None:
        return ""
    return f"{ratio.median:.2f} ({ratio.lower:.2f} .. {ratio.upper:.2f})"


def lines(results: Sequence[Compared]) -> list[str]:
    """Return what is to be said below the table, kind by kind."""
    missing = [
        f"Batch {one.batch_size}: no {way}, {reason}"
        for one in results
        for way, reason in one.refused.items()
    ]
    said = [line(one) for line in (verdict, layers_line, operations_line) for one in results]
    return [*missing, *said]


def verdict(one: Compared) -> str:
    """Say in one line whether the sparse network wins at this batch size."""
    best, ratio = one.best_dense, one.speedup(OURS)
    if best is None or ratio is None:
        return f"Batch {one.batch_size}: no dense way was measured, so nothing is won or lost."
    what = f"sparse is {ratio.median:.2f} times as fast as {best}, the best dense"
    if ratio.lower > 1:
        return f"Batch {one.batch_size}: {what}."
    if ratio.upper < 1:
        return f"Batch {one.batch_size}: SPARSE LOSES, {what}."
    return f"Batch {one.batch_size}: {what}: not told apart from equal."


def layers_line(one: Compared) -> str:
    """Say what became of the layers."""
    kinds = Counter(layer.kind for layer in one.conversion.layers)
    named = ", ".join(f"{number} {kind}" for kind, number in sorted(kinds.items()))
    return f"Batch {one.batch_size}: layers are {named}."


def operations_line(one: Compared) -> str:
    """Say which kinds of operations the time of the sparse network goes to."""
    whole = sum(one.operations.values())
    shares = [
        f"{name} {shown(seconds)} ({seconds / whole:.0%})"
        for name, seconds in one.operations.items()
        if seconds >= LEAST_SHARE * whole
    ]
    return f"Batch {one.batch_size}: the time of sparse goes to {', '.join(shares)}."
