"""What makes a comparison unequal: training FLOPs, what sparsity is counted over, tuning."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from sparsekit.report.rows import Row

RATIO = 1.05
"""Training FLOPs that differ by less count as equal."""
MOST = 6
"""Names that one line lists."""
FLOPS = ("training_flops", "training_flops_relative")


def budget_notes(rows: Sequence[Row]) -> list[str]:
    """Return a line for each thing in which rows at one sparsity are not on equal terms.

    Dense networks are the reference of all and are left out. What results do not know, such as the
    training FLOPs of older stores, is not compared.
    """
    groups: dict[float, list[Row]] = {}
    for row in rows:
        if row.sparsity > 0:
            groups.setdefault(round(row.sparsity, 6), []).append(row)
    alike = [group for group in groups.values() if len({row.label for row in group}) > 1]
    return [*_unequal_flops(alike), *_unequal_weights(alike), *_unequal_tuning(alike)]


def flops_ratio(first: Row, second: Row) -> float | None:
    """Return how many times the training FLOPs of the second row the first one has; None where
    either does not know."""
    for name in FLOPS:
        ours, theirs = first.known(name), second.known(name)
        if ours is not None and theirs is not None and theirs.mean > 0:
            return ours.mean / theirs.mean
    return None


def ratio_notes(pairs: Iterable[tuple[Row, Row]]) -> list[str]:
    """Name the comparisons of two rows at unequal training FLOPs."""
    found: dict[tuple[str, str], list[float]] = {}
    for first, second in pairs:
        ratio = flops_ratio(first, second)
        if ratio is not None and not 1 / RATIO <= ratio <= RATIO:
            found.setdefault((first.label, second.label), []).append(ratio)
    return [
        f"unequal training FLOPs: {first} has {_range(ratios, '.3g')} times those of {second}"
        for (first, second), ratios in found.items()
    ]


def _unequal_flops(groups: Sequence[Sequence[Row]]) -> list[str]:
    """Say which methods had how many training FLOPs, where any two at a sparsity differ."""
    unequal = [
        group
        for group in groups
        if any(
            ratio is not None and not 1 / RATIO <= ratio <= RATIO
            for ratio in itertools.starmap(flops_ratio, itertools.combinations(group, 2))
        )
    ]
    shown: dict[str, list[float]] = {}
    for row in itertools.chain(*unequal):
        relative = row.known("training_flops_relative")
        if relative is not None:
            shown.setdefault(row.label, []).append(relative.mean)
    order = sorted(shown, key=lambda label: max(shown[label]))
    told = _some([f"{label} {_range(shown[label], '.2f')}" for label in order])
    of_dense = f", in dense trainings: {told}" if told else ""
    return [f"unequal training FLOPs at the same sparsity{of_dense}"] if unequal else []


def _unequal_weights(groups: Sequence[Sequence[Row]]) -> list[str]:
    """Say where sparsity is not counted over the same weights."""
    told: dict[str, dict[str, None]] = {}
    for group in groups:
        counted = [(row.label, _weights(row)) for row in group]
        if all(sizes == counted[0][1] for _, sizes in counted):
            continue
        for label, sizes in counted:
            weights = f"{sum(sizes.values()):,} in {_some(list(sizes))}"
            told.setdefault(weights, {})[label] = None
    shown = "; ".join(f"{weights} ({_some(list(labels))})" for weights, labels in told.items())
    return [f"unequal sparsity: the prunable weights are not the same: {shown}"] if told else []


def _weights(row: Row) -> dict[str, int]:
    layers: Mapping[str, Any] = row.results[0].metrics.get("layers", {})
    return {name: int(layer["size"]) for name, layer in layers.items()}


def _unequal_tuning(groups: Sequence[Sequence[Row]]) -> list[str]:
    """Say where more values of a setting were tried for one method than for another."""
    tried: dict[str, int] = {}
    keys: set[str] = set()
    for row in itertools.chain(*groups):
        tuned = row.results[0].tuned
        if tuned is not None:
            keys.add(tuned.key)
            tried[row.label] = max(tried.get(row.label, 0), len(tuned.tried))
    if len(set(tried.values())) <= 1:
        return []
    told = _some(
        [f"{label} {count}" for label, count in sorted(tried.items(), key=lambda one: one[1])]
    )
    return [f"unequal tuning: values of {', '.join(sorted(keys))} that were tried: {told}"]


def _some(texts: Sequence[str]) -> str:
    """List texts, or of many the first ones and the last one.

    >>> _some(["a", "b"]), _some([*"abcdefgh"])
    ('a, b', 'a, b, c, d, ... (3 more), h')
    """
    if len(texts) <= MOST:
        return ", ".join(texts)
    return f"{', '.join(texts[: MOST - 2])}, ... ({len(texts) - MOST + 1} more), {texts[-1]}"


def _range(values: Sequence[float], form: str) -> str:
    """Print least and most, or the one number that both are.

    >>> _range([1.0, 1.0], ".2f"), _range([0.5, 11.0], ".3g")
    ('1.00', '0.5 to 11')
    """
    ends = [f"{end:{form}}" for end in (min(values), max(values))]
    return " to ".join(dict.fromkeys(ends))
