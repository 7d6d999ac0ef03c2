"""What can be typed, in Hydra's grammar: one override, its values, and lists of pairs."""

from __future__ import annotations

import functools
import re
import shlex
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from sparsekit.configuration.config import ConfigError
from sparsekit.store.identity import canonical

HYDRA_KEYS = ("hydra", "hydra/launcher", "hydra/sweeper")
OPENING, CLOSING = "([{", ")]}"
PLAIN = re.compile(r"[\w.+\-/]*", re.ASCII)
SHELL = set('"$`\\!')


def key_of(override: str) -> str:
    """Return the key that an override sets, without its prefix.

    >>> key_of("+control=reinitialise")
    'control'
    """
    return override.partition("=")[0].lstrip("+~")


def text_of(override: str) -> str:
    """Return the value of an override as it is typed."""
    return override.partition("=")[2]


@functools.lru_cache(maxsize=65536)
def value_of(override: str) -> Any:
    """Parse the value of an override by Hydra's grammar."""
    return _parser().parse_override(override).value()


@functools.lru_cache(maxsize=65536)
def meaning(text: str) -> str:
    """Return the one spelling of a typed value, so that values can be compared.

    >>> meaning("0.50") == meaning("5e-1"), meaning("1") == meaning("'1'")
    (True, False)
    """
    try:
        return canonical(value_of(f"x={text}"))
    except ValueError:  # nan and inf, which no run has
        return text


def values_of(override: str) -> list[str]:
    """Return an override for each value of a sweep: `seed=0,1` is seed=0 and seed=1.

    ConfigError for text that is not an override, or that cannot be swept.
    """
    from hydra.errors import HydraException

    parsed = _parsed(override)
    if not parsed.is_sweep_override():
        return [override]
    try:
        values = list(parsed.sweep_string_iterator())
    except HydraException as error:
        raise ConfigError(f"{override}: only lists, `range` and `choice` can be swept") from error
    prefix = override[: override.index("=") + 1]
    return [f"{prefix}{value}" for value in values]


def is_sweep(text: str) -> bool:
    """Say whether an override stands for several values; ConfigError if it is not an override."""
    return bool(_parsed(text).is_sweep_override())


def pairs(text: str) -> dict[str, str]:
    """Parse `key=value,key=value`; commas in brackets and quotes belong to the values.

    >>> pairs("method=snip,+control=reinitialise,method.span=[0.1,0.5]")
    {'method': 'snip', 'control': 'reinitialise', 'method.span': '[0.1,0.5]'}
    """
    pieces = list(_split(text))
    for piece in pieces:
        if "=" not in piece or is_sweep(piece):
            raise ConfigError(f"{text!r}: {piece!r} is not key=value")
    refuse_repetition(pieces)
    return {key_of(piece): text_of(piece) for piece in pieces}


def whole_leaves(overrides: Sequence[str]) -> dict[str, Any]:
    """Return overrides that replace a whole leaf, `key={_target_:...}`.

    Hydra would merge the old leaf with the new one, and keep arguments of the old target.
    """
    texts = [text for text in overrides if "_target_" in text and not text.startswith("~")]
    values = {key_of(text): value_of(text) for text in texts}
    return {key: v for key, v in values.items() if isinstance(v, dict) and "_target_" in v}


def refuse_repetition(overrides: Sequence[str]) -> None:
    """Raise ConfigError for a key that is given twice: one of its values would be ignored."""
    keys = [key_of(text) for text in overrides]
    for key in keys:
        if keys.count(key) > 1:
            given = " ".join(text for text in overrides if key_of(text) == key)
            raise ConfigError(f"{given}: {key} is given more than once; only one can count")


def refuse_hydra(override: str) -> None:
    """Raise ConfigError for settings of Hydra's own machinery, which does not run here."""
    key = key_of(override)
    if key in HYDRA_KEYS or key.startswith(("hydra.", "hydra/")):
        raise ConfigError(
            f"{override}: this program does not use Hydra's launchers, sweepers and run folders; "
            "use `cluster=` for where runs are computed, `executor=` for where their fits are, and "
            "`runtime.store=` for where results go"
        )


def spelled(value: Any) -> str:
    """Write a value of a YAML file in the grammar of overrides.

    >>> spelled([0.5, None, True, {"a": "b c"}])
    "[0.5,null,true,{a:'b c'}]"
    """
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, Mapping):
        return "{" + ",".join(f"{k}:{spelled(v)}" for k, v in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ",".join(map(spelled, value)) + "]"
    text = str(value)
    return text if PLAIN.fullmatch(text) else quoted(text)


def quoted(text: str) -> str:
    """Put a text in quotes, so that Hydra reads every character literally.

    >>> print(quoted("it's"), quoted("a, b"))
    'it\\'s' 'a, b'
    """
    from hydra.core.override_parser.types import Quote, QuotedString

    return str(QuotedString(text, Quote.single).with_quotes())


def first_lines(error: Exception) -> str:
    """Return the beginning of a message, on one line."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return " ".join(lines[:3])


def reason_of(error: Exception) -> str:
    """Return Hydra's message; if it only names the override that failed, add why."""
    text = first_lines(error)
    if "No match in the defaults list" in text:
        place = text.split("'")[1]
        return (
            f"{place}: nothing is chosen there that could be replaced; groups inside others are "
            "chosen as GROUP@PLACE=OPTION, such as prune@method.prune=lamp for methods that prune"
        )
    if "Could not override" in text:
        return text.partition(" To append")[0]
    cause = error.__cause__
    return f"{text}: {first_lines(cause)}" if isinstance(cause, Exception) else text


def _parsed(text: str) -> Any:
    from hydra.errors import HydraException

    try:
        return _parser().parse_override(text)
    except HydraException as error:
        reason = str(error).splitlines()[0]
        raise ConfigError(
            f"{text!r} is neither an option nor key=value: {reason}{_as_quoted(text)}"
        ) from error


def _as_quoted(text: str) -> str:
    """Say how to type an override whose value needs quotes; nothing where quotes do not help."""
    from hydra.errors import HydraException

    key, _, value = text.partition("=")
    typed = f"{key}={quoted(value)}"
    try:
        _parser().parse_override(typed)
    except HydraException:
        return ""
    shown = shlex.quote(typed) if SHELL & set(typed) else f'"{typed}"'
    return f"; such a value needs quotes of its own: {shown}"


@functools.cache
def _parser() -> Any:
    from hydra.core.override_parser.overrides_parser import OverridesParser

    return OverridesParser.create()


def _split(text: str) -> Iterator[str]:
    """Split text at commas outside brackets and quotes, as Hydra reads them."""
    from antlr4 import InputStream
    from hydra.grammar.gen.OverrideLexer import OverrideLexer

    lexer = OverrideLexer(InputStream(text))
    lexer.removeErrorListeners()  # what it cannot read is refused by the parser afterwards
    begin, depth = 0, 0
    for token in lexer.getAllTokens():
        mark = token.text.strip()
        depth += (mark in OPENING) - (mark in CLOSING) if mark else 0
        if token.type == OverrideLexer.COMMA and depth == 0:
            yield text[begin : token.start].strip()
            begin = token.stop + 1
    yield text[begin:].strip()
