"""Display names: what a table calls each kind of run."""

from __future__ import annotations

import collections
from collections.abc import Callable, Iterable, Mapping, Sequence

from sparsekit.report.asked import settings as settings_in
from sparsekit.report.collect import Kind, Result, kind_of_result
from sparsekit.report.wording import DEFINING, REPLACING, phrase, short


def labels_of(results: Iterable[Result]) -> dict[Kind, str]:
    """Return a name for each kind of run that no other kind has, the shortest there is.

    It is the label that the runs were given; else that of their method, or the method's own name,
    with what makes another method of it. Where several kinds have the same, it is followed by the
    settings in which they differ; then the experiment goes before it; and where nothing else tells
    them apart, the digest of the configuration after it.
    """
    kinds: dict[Kind, Result] = {}
    for result in results:
        kind = kind_of_result(result)
        if kind not in kinds or ("run" in result.labels and "run" not in kinds[kind].labels):
            kinds[kind] = result
    alike: dict[str, dict[Kind, Result]] = {}
    for kind, result in kinds.items():
        alike.setdefault(called_of(result), {})[kind] = result
    named = {
        k: name for called, group in alike.items() for k, name in _named(called, group).items()
    }
    named = _unless_alone(named, lambda kind: f"{kind[0]}: {named[kind]}")
    named = _unless_alone(named, lambda kind: f"{named[kind]} #{kind[2]}")
    return {kind: named[kind] for kind in kinds}


def _unless_alone(named: Mapping[Kind, str], longer: Callable[[Kind], str]) -> dict[Kind, str]:
    """Return longer names for the kinds whose name others have as well."""
    uses = collections.Counter(named.values())
    return {kind: longer(kind) if uses[name] > 1 else name for kind, name in named.items()}


def called_of(result: Result) -> str:
    """Return what a run is called, without the settings that tell it from others of that name."""
    return result.labels.get("run") or result.labels.get("method") or result.method


def _named(called: str, kinds: Mapping[Kind, Result]) -> dict[Kind, str]:
    """Name kinds that are called the same, by what differs between them."""
    settings = {kind: settings_in(one.overrides) for kind, one in kinds.items()}
    if len({kind[1] for kind in kinds}) > 1:
        settings = {kind: {"method": kind[1], **own} for kind, own in settings.items()}
    keys = dict.fromkeys(key for own in settings.values() for key in own)
    differing = [key for key in keys if len({own.get(key) for own in settings.values()}) > 1]
    return {
        kind: _with_settings(called, own, differing, is_given="run" in kinds[kind].labels)
        for kind, own in settings.items()
    }


def _with_settings(
    called: str, settings: Mapping[str, str], differing: Sequence[str], *, is_given: bool
) -> str:
    """Put the settings that count in brackets behind a name; `Random (ERK)` has some already."""
    shown = [k for k in settings if k in differing or (k in DEFINING and not is_given)]
    shorts = [short(key) for key in shown]
    phrases = [phrase(key, settings[key], full=shorts.count(short(key)) > 1) for key in shown]
    name, bracket, rest = called.partition(" (")
    if bracket and not is_given:
        is_replaced = any(key in REPLACING for key in shown)
        phrases = [*([] if is_replaced else [rest.removesuffix(")")]), *phrases]
        called = name
    told = ", ".join(filter(None, phrases))
    return f"{called} ({told})" if told else called
