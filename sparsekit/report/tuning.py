"""One value of a setting for each method and sparsity, chosen on validation: `--best-of KEY`."""

from __future__ import annotations

import copy
import dataclasses
import json
import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from sparsekit.report.asked import key_of
from sparsekit.report.collect import Record, Result, Tuned
from sparsekit.report.filters import BUILT_IN, check_key, spelled, values
from sparsekit.report.reading import is_number, metric_of
from sparsekit.report.rows import Row

ABOUT_ONE_RUN = ("seed", "sparsity")
Group = tuple[str, str, str, float]
"""Experiment, method, all settings but the one that is chosen, and sparsity."""


def best_of(results: Sequence[Result], key: str, records: Iterable[Record]) -> list[Result]:
    """Keep, per method and sparsity, the runs with the best value of a setting.

    That is the one with the best mean of the primary metric on the validation split: the test split
    chooses nothing. Values that have fewer seeds than others do not take part. Runs that differ in
    the setting alone are of one kind from here on, and each result says how it was `tuned`.
    ValueError for a setting that no run has.
    """
    if key in BUILT_IN:
        raise ValueError(f"--best-of {key}: not a setting of a method; such as train.schedule.peak")
    check_key(f"--best-of {key}", key, records)
    groups: dict[Group, dict[str, list[Result]]] = {}
    for one in results:
        group = one.experiment, one.method, _others(one, key), round(one.sparsity, 6)
        groups.setdefault(group, {}).setdefault(_value(one, key), []).append(one)
    kinds = _joined(
        {one.variant for several in tried.values() for one in several} for tried in groups.values()
    )
    kept = []
    for tried in groups.values():
        best, num_seeds = _best(tried)
        tuned = Tuned(key, best, tuple(tried), num_seeds)
        kept += [_chosen(one, tuned, kinds[one.variant]) for one in tried[best]]
    return kept


def _chosen(result: Result, tuned: Tuned, variant: str) -> Result:
    overrides = tuple(text for text in result.overrides if key_of(text) != tuned.key)
    return dataclasses.replace(result, variant=variant, overrides=overrides, tuned=tuned)


def tuning_notes(rows: Sequence[Row]) -> list[str]:
    """Say which values were chosen, of how many, and by what; one line for each label."""
    found: dict[tuple[str, str, int], list[str]] = {}
    for row in rows:
        tuned = row.results[0].tuned
        if tuned is not None and len(tuned.tried) > 1:
            chosen = f"{tuned.value} at {100 * row.sparsity:.2f} %"
            found.setdefault((row.label, tuned.key, len(tuned.tried)), []).append(chosen)
    return [
        f"{label}: {key} = {', '.join(chosen)}; the best of {count} values that were tried, by the "
        "mean on validation; results of the others are not shown"
        for (label, key, count), chosen in found.items()
    ]


def _best(group: Mapping[str, Sequence[Result]]) -> tuple[str, int]:
    """Return the value with the best mean on validation, and over how many seeds."""
    counts = {value: len({one.seed for one in several}) for value, several in group.items()}
    most = max(counts.values())
    complete = [value for value in group if counts[value] == most]
    return max(complete, key=lambda value: _quality(group[value])), most


def _quality(results: Sequence[Result]) -> float:
    """Return the mean over the seeds of the last result of each, as a number of which more is
    better."""
    last = {one.seed: one for one in sorted(results, key=lambda one: one.cycle)}
    qualities = []
    for one in last.values():
        metric = metric_of(one.metrics)
        value = one.metrics.get(f"val_{metric.name}")
        is_known = is_number(value) and math.isfinite(value)
        qualities.append(metric.quality(float(value or 0)) if is_known else -math.inf)
    return statistics.fmean(qualities)


def _value(result: Result, key: str) -> str:
    found = values(result.record, key)
    return spelled(found[0]) if found else "not set"


def _others(result: Result, key: str) -> str:
    """Return all that decides a run beside seed, sparsity and one setting; equal texts are equal.

    Records of older releases say what was typed alone.
    """
    config = copy.deepcopy(dict(result.record.get("config", {})))
    if not config.keys() - {"sparsity"}:
        overrides = result.record["overrides"]
        return json.dumps([t for t in overrides if key_of(t) not in (key, *ABOUT_ONE_RUN)])
    node: Any = config
    *parents, last = (key.partition("@")[2] or key).split(".")
    for part in parents:
        node = node.get(part, {}) if isinstance(node, Mapping) else {}
    if isinstance(node, dict):
        node.pop(last, None)
    return json.dumps({k: v for k, v in config.items() if k not in ABOUT_ONE_RUN}, sort_keys=True)


def _joined(families: Iterable[set[str]]) -> dict[str, str]:
    """Return one name for all members of families that share any.

    >>> _joined([{"a", "b"}, {"c"}, {"b", "d"}])
    {'a': 'a', 'b': 'a', 'c': 'c', 'd': 'a'}
    """
    joined: list[set[str]] = []
    for family in families:
        touching = [one for one in joined if one & family]
        joined = [one for one in joined if not one & family] + [family.union(*touching)]
    names = {member: min(family) for family in joined for member in family}
    return dict(sorted(names.items()))
