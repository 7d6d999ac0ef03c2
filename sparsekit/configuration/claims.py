"""What an experiment claims of its methods: checked here, judged by reports when there are results.

Claims are taken out of a configuration before anything is derived from it, as display names are: no
result depends on them.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from sparsekit.configuration.config import ConfigError, suggest
from sparsekit.configuration.labels import LABEL, METHOD, label_in
from sparsekit.configuration.overrides import value_of

CLAIMS = "claims"
SAYS, SPARSITY, WITHIN = "says", "sparsity", "within"
FORMS: Mapping[str, tuple[str, ...]] = {"better": ("than",), "as_good": ("as", WITHIN)}
"""What a claim says of the method named first, and the keys that this needs."""
SPARSITIES = (SPARSITY, "method.sparsity")
ZIP = "zip"
SLACK = 1.05
"""How many times more or fewer weights may be kept at a sparsity that counts as the same one."""

Claim = Mapping[str, Any]


def claims_in(stated: Any) -> list[dict[str, Any]] | None:
    """Return the claims of a configuration; None if it states none, which is not an empty list.

    ConfigError for what is not a claim.
    """
    if stated is None:
        return None
    if not isinstance(stated, Sequence) or isinstance(stated, str):
        raise ConfigError(f"{CLAIMS}={stated!r} is not a list")
    for number, claim in enumerate(stated):
        _check(f"{CLAIMS}[{number}]", claim)
    return [dict(claim) for claim in stated]


def methods_of(claim: Claim) -> tuple[str, str]:
    """Return the two methods that a claim compares, the one it speaks for first."""
    form = next(form for form in FORMS if form in claim)
    return claim[form], claim[FORMS[form][0]]


def _check(place: str, claim: Any) -> None:
    if not isinstance(claim, Mapping):
        raise ConfigError(f"{place}={claim!r} is not a mapping such as {{says: ..., better: imp}}")
    forms = [form for form in FORMS if form in claim]
    if len(forms) != 1:
        raise ConfigError(f"{place}: a claim has one of {', '.join(FORMS)}, and not both")
    needed = (SAYS, forms[0], *FORMS[forms[0]])
    for key in claim:
        if key not in (*needed, SPARSITY):
            near = suggest(str(key), (*needed, SPARSITY))
            raise ConfigError(f"{place}.{key}: a claim with {forms[0]} has no such key{near}")
    for key in needed:
        if key not in claim:
            raise ConfigError(f"{place}: a claim with {forms[0]} needs {', '.join(needed)}")
        if key != WITHIN and not (isinstance(claim[key], str) and claim[key]):
            raise ConfigError(f"{place}.{key}={claim[key]!r} is not a text")
    if len(set(methods_of(claim))) == 1:
        raise ConfigError(f"{place}: {methods_of(claim)[0]} is compared with itself")
    _check_numbers(place, claim)


def _check_numbers(place: str, claim: Claim) -> None:
    if WITHIN in claim and not (_is_number(claim[WITHIN]) and claim[WITHIN] > 0):
        raise ConfigError(f"{place}.{WITHIN}={claim[WITHIN]!r} is not a number above 0")
    if SPARSITY in claim and not (_is_number(claim[SPARSITY]) and 0 <= claim[SPARSITY] < 1):
        raise ConfigError(f"{place}.{SPARSITY}={claim[SPARSITY]!r} is outside 0 <= sparsity < 1")


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


@dataclasses.dataclass(frozen=True)
class Offer:
    """The names of methods and the sparsities of a whole sweep, of which a part may be typed."""

    names: frozenset[str]
    sparsities: frozenset[float]


def grids_in(nodes: Iterable[Any]) -> list[Mapping[str, Any]]:
    """Return the grids of every experiment that was composed, whatever was typed beside it."""
    from omegaconf import OmegaConf

    several = [OmegaConf.to_container(node.sweep, resolve=False) for node in nodes]
    return [grid for grids in several if isinstance(grids, list) for grid in grids]


def offer_of(
    grids: Iterable[Mapping[str, Any]],
    points: Iterable[Mapping[str, str]],
    methods: Mapping[str, Path],
    *,
    is_open: bool,
) -> Offer:
    """Collect what grids and points set; a sweep that `is_open` has any of the methods, by their
    files, because others may be typed at any time."""
    entries = [entry for grid in grids for entry in (grid, grid.get(ZIP) or {})]
    entries += [{key: value_of(f"x={text}") for key, text in point.items()} for point in points]
    names, numbers = set(methods) if is_open else set(), set()
    for entry in entries:
        names |= {str(name) for key in (METHOD, LABEL) for name in _several(entry.get(key))}
        typed = [one for key in SPARSITIES for one in _several(entry.get(key))]
        numbers |= {float(one) for one in typed if _is_number(one)}
    return Offer(frozenset(names | _labels_of(names, methods)), frozenset(numbers))


def _several(value: Any) -> list[Any]:
    if value is None:
        return []
    return value if isinstance(value, list) else [value]


def _labels_of(names: Iterable[str], methods: Mapping[str, Path]) -> set[str]:
    found = (label_in(methods[name]) for name in names if name in methods)
    return {label for label in found if label is not None}


def refuse_untestable(runs: Sequence[Any], offer: Offer) -> None:
    """Raise ConfigError for claims of which it is known now that no result of a sweep tests them.

    These are claims about a method that the sweep does not have, or about a sparsity that its runs
    do not reach. What depends on results, the verdict says.
    """
    claims: dict[str, Any] = {}
    for run in runs:
        stated = claims.setdefault(run.experiment, run.claims)
        if stated != run.claims:
            raise ConfigError(f"{CLAIMS}: they are those of a whole sweep, and not of one grid")
    for experiment, stated in claims.items():
        own = [run for run in runs if run.experiment == experiment]
        names = offer.names.union(*(_names_of(run) for run in own))
        for number, claim in enumerate(stated or ()):
            for name in methods_of(claim):
                _refuse_name(f"{CLAIMS}[{number}]", name, names)
                _refuse_sparsity(f"{CLAIMS}[{number}]", claim, name, own, offer)


def _refuse_name(place: str, name: str, names: Iterable[str]) -> None:
    if _without_bracket(name) not in set(map(_without_bracket, names)):
        raise ConfigError(f"{place}: the sweep has no method {name}{suggest(name, names)}")


def _names_of(run: Any) -> set[str]:
    return {run.choices[METHOD], *run.labels.values()}


def _without_bracket(name: str) -> str:
    """Return a name without the settings that reports put behind it: `IMP` for `IMP (4 cycles)`."""
    return name.partition(" (")[0]


def _refuse_sparsity(
    place: str, claim: Claim, name: str, runs: Sequence[Any], offer: Offer
) -> None:
    """Raise ConfigError for a sparsity that no run of a method has, where one cycle decides it."""
    methods = [run.config[METHOD] for run in runs if name in _names_of(run)]
    known = [method.get(SPARSITY) for method in methods if method.get("cycles", 0) <= 1]
    if SPARSITY not in claim or not methods or len(known) < len(methods) or None in known:
        return
    kept = 1 - claim[SPARSITY]
    reached = sorted({*known, *offer.sparsities})
    if not any(1 / SLACK <= (1 - one) / kept <= SLACK for one in reached):
        valid = ", ".join(f"{one:g}" for one in reached)
        raise ConfigError(
            f"{place}.{SPARSITY}={claim[SPARSITY]:g}: no run of {name} has it; there is {valid}"
        )
