"""The table of single layers."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence

import torch

from benchmarks import timing
from benchmarks.inference import cases, targets
from benchmarks.inference.cases import Case, Weights
from sparsekit.inference.library import level
from sparsekit.measuring.limits import Limit, Speeds, Work, limit, multiplying_speed, reading_speed
from sparsekit.measuring.tables import shown, significant
from sparsekit.measuring.timing import Clock, Spread, faster, quickest, repeated

SHAPES = ((3072, 768), (768, 3072), (4096, 4096))
SPARSITIES = (0.8, 0.9, 0.95, 0.99)
BATCHES = (1, 8, 64, 256)
TINY = ((48, 32),)
HEAD = (
    "sparsity", "batch", "ours", "median", "middle half", "best dense", "over dense", "aim",
    "best CSR", "over CSR", "aim", "limit", "bound by", "times the limit",
)  # fmt: skip


def sections(shapes: Sequence[tuple[int, int]], options: timing.Options) -> list[str]:
    """One table for each shape, and what is lost."""
    parts = []
    for inputs, outputs in shapes:
        rows, lost = _measured(inputs, outputs, options)
        parts.append(f"### {inputs} -> {outputs}\n\n{timing.markdown(HEAD, rows)}")
        losses = "".join(f"\n- {one}" for one in lost)
        parts.append(f"Sparse loses:\n{losses}" if lost else "Sparse loses nowhere.")
    return parts


def _measured(
    inputs: int, outputs: int, options: timing.Options
) -> tuple[list[list[str]], list[str]]:
    rows: list[list[str]] = []
    lost: list[str] = []
    for sparsity in SPARSITIES[1:2] if options.quick else SPARSITIES:
        layer = cases.weights(inputs, outputs, sparsity)
        for batch, is_cold in _batches(options):
            case = Case(inputs, outputs, sparsity, batch, is_cold)
            more, worse = _compared(layer, case, options)
            rows += more
            lost += worse
    return rows, lost


def _batches(options: timing.Options) -> list[tuple[int, bool]]:
    if options.quick:
        return [(1, False), (8, False)]
    return [(1, False), (1, True), *zip(BATCHES[1:], itertools.repeat(False))]


def _compared(
    layer: Weights, case: Case, options: timing.Options
) -> tuple[list[list[str]], list[str]]:
    """Rows of one case, and the ways of ours that lose."""
    clock = options.clock
    with torch.inference_mode():
        made = cases.works(layer, case)
        ways = {name: _sample(works, clock) for name, works in made.items()}
        times = timing.interleave(ways, rounds=options.rounds)
        allowed = _limits(layer, case, clock)
    dense, csr = quickest(times, cases.DENSE), quickest(times, cases.CSR)
    assert dense is not None
    assert csr is not None
    rows, lost = [], []
    for name in cases.OURS:
        over = faster(times, name, dense), faster(times, name, csr)
        rows.append(
            _row(
                case,
                name,
                timing.spread(times[name]),
                allowed[name],
                over,
                (
                    f"{dense} {shown(timing.spread(times[dense]).median)}",
                    f"{csr} {shown(timing.spread(times[csr]).median)}",
                ),
            )
        )
        lost += [
            f"{case.sparsity:.0%}, batch {_batch(case)}, {name} against {other}: {ratio.median:.2f}"
            for other, ratio in zip((dense, csr), over, strict=True)
            if ratio.median < 1
        ]
    return rows, lost


def _sample(works: Sequence[Callable[[], object]], clock: Clock) -> Callable[[], float]:
    """Hot: the same layer again and again. Cold: each copy once, which takes long enough."""
    if len(works) == 1:
        return repeated(works[0], clock)

    def way() -> float:
        started = clock()
        for work in works:
            work()
        return (clock() - started) / len(works)

    return way


def _limits(layer: Weights, case: Case, clock: Clock) -> dict[str, Limit]:
    passed = 4 * case.batch * (case.inputs + case.outputs)
    peak = multiplying_speed(clock)
    found = {}
    for name, rows in layer.rows.items():
        moved = cases.num_bytes(rows) + passed
        # Read at the speed of the place that the weights come from.
        speed = reading_speed(4 * cases.COLD if case.is_cold else moved, clock)
        found[name] = limit(Work(moved, rows.kept * case.batch), Speeds(speed, peak))
    return found


def _row(
    case: Case,
    name: str,
    taken: Spread,
    least: Limit,
    over: tuple[Spread, Spread],
    best: tuple[str, str],
) -> list[str]:
    aims = targets.over_dense(case, name, level()), targets.over_csr(case, name, level())
    near, times = targets.times_limit(case, level()), taken.median / least.seconds
    is_near = "" if near is None else f" (aim {near:g}{'' if times <= near else ', MISSED'})"
    return [
        f"{case.sparsity:.0%}",
        _batch(case),
        name,
        shown(taken.median),
        f"{shown(taken.lower)} .. {shown(taken.upper)}",
        best[0],
        f"{over[0].median:.2f}",
        _aim(aims[0], over[0]),
        best[1],
        f"{over[1].median:.2f}",
        _aim(aims[1], over[1]),
        shown(least.seconds),
        least.bound_by,
        significant(times) + is_near,
    ]


def _batch(case: Case) -> str:
    return f"{case.batch} cold" if case.is_cold else str(case.batch)


def _aim(target: float | None, found: Spread) -> str:
    if target is None:
        return ""
    return f"{target:.3g} {'reached' if found.median >= target else 'MISSED'}"
