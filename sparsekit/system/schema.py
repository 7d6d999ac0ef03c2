"""What the value of a JSON file must be: checks that are put together from smaller ones.

A check takes a value and the place where it stands, and raises ValueError that says where, what was
expected and what is there. Entries of a mapping that a schema does not name may be anything: other
releases may write more.
"""

from __future__ import annotations

import math
import re
import reprlib
from collections.abc import Callable, Mapping
from typing import Any

Check = Callable[[Any, str], None]
LARGEST = 2**63 - 1


def anything(value: Any, place: str) -> None:
    """Accept any value."""


def whole(least: int = 0, most: int = LARGEST) -> Check:
    """Accept integers from `least` to `most`; true and false are none.

    >>> whole(1, 8)(0, "cycles")
    Traceback (most recent call last):
    ValueError: cycles: expected a whole number from 1 to 8, got 0
    """
    bounds = f"of at least {least}" if most == LARGEST else f"from {least} to {most}"

    def check(value: Any, place: str) -> None:
        if type(value) is not int or not least <= value <= most:
            _refuse(place, f"a whole number {bounds}", value)

    return check


def number(least: float = -math.inf, most: float = math.inf) -> Check:
    """Accept finite numbers from `least` to `most`; true and false are none.

    >>> number(0, 1)(0.5, "sparsity")
    """
    bounds = "" if math.isinf(most) else f" from {least:g} to {most:g}"

    def check(value: Any, place: str) -> None:
        is_number = type(value) in (int, float) and least <= value <= most
        if not is_number or not math.isfinite(value):
            _refuse(place, f"a number{bounds}", value)

    return check


def truth(value: Any, place: str) -> None:
    """Accept true and false."""
    if not isinstance(value, bool):
        _refuse(place, "true or false", value)


def text(pattern: str = r"(?s).*", what: str = "a text") -> Check:
    """Accept texts that match a pattern as a whole; `what` names them."""
    wanted = re.compile(pattern)

    def check(value: Any, place: str) -> None:
        if not isinstance(value, str) or not wanted.fullmatch(value):
            _refuse(place, what, value)

    return check


def one_of(*values: str) -> Check:
    """Accept one of these texts."""

    def check(value: Any, place: str) -> None:
        if not isinstance(value, str) or value not in values:
            _refuse(place, f"one of {', '.join(values)}", value)

    return check


def optional(check: Check) -> Check:
    """Accept null, and what `check` accepts."""

    def checked(value: Any, place: str) -> None:
        if value is not None:
            check(value, place)

    return checked


def listing(check: Check, *, least: int = 0) -> Check:
    """Accept lists of at least `least` values that `check` accepts."""

    def checked(value: Any, place: str) -> None:
        if not isinstance(value, list) or len(value) < least:
            _refuse(place, f"a list of at least {least}" if least else "a list", value)
        for index, one in enumerate(value):
            check(one, f"{place}[{index}]")

    return checked


def mapping_of(check: Check, *, names: Check = anything) -> Check:
    """Accept mappings with any entries whose values `check` accepts, and whose names `names`."""

    def checked(value: Any, place: str) -> None:
        if not isinstance(value, Mapping):
            _refuse(place, "a mapping", value)
        for name, one in value.items():
            names(name, f"a name in {place or 'it'}")
            check(one, _below(place, name))

    return checked


def mapping(required: Mapping[str, Check], more: Mapping[str, Check] | None = None) -> Check:
    """Accept mappings that have all `required` entries, and those of `more` that they have.

    >>> mapping({"cycle": whole()})({"sparsity": 0.5}, "rows[0]")
    Traceback (most recent call last):
    ValueError: rows[0] has no 'cycle'
    """

    def checked(value: Any, place: str) -> None:
        if not isinstance(value, Mapping):
            _refuse(place, "a mapping", value)
        for name, check in required.items():
            if name not in value:
                raise ValueError(f"{place or 'it'} has no {name!r}")
            check(value[name], _below(place, name))
        for name, check in (more or {}).items():
            if name in value:
                check(value[name], _below(place, name))

    return checked


def _below(place: str, name: str) -> str:
    return f"{place}.{name}" if place else str(name)


def _refuse(place: str, expected: str, value: Any) -> None:
    where = f"{place}: " if place else ""
    raise ValueError(f"{where}expected {expected}, got {reprlib.repr(value)}")
